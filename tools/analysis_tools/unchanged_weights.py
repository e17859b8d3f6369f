"""Which weights did a training not change? Of two checkpoints, by module.

    python tools/analysis_tools/unchanged_weights.py BEFORE.pth AFTER.pth

Weights that get no gradient stay: layers that are frozen, or cut off, and attention
that is dead. Weight decay alone shrinks them, which is told apart.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from attnpool_mm.analysis.results import text_table, write_json
from attnpool_mm.checkpoint import find_state_dict, load_checkpoint_file
from attnpool_mm.checkpoint.changes import Change, Changes, compare_weights
from attnpool_mm.engine import launch
from attnpool_mm.engine.work_dir import check_file
from attnpool_mm.utils.errors import ConfigError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before", help="checkpoint file")
    parser.add_argument("after", help="a later checkpoint of the same network")
    parser.add_argument(
        "--threshold",
        type=float,
        default=1e-3,
        help="relative change below which weights count as unchanged (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--unchanged", action="store_true", help="list the unchanged modules alone"
    )
    parser.add_argument("--json", metavar="FILE", help="the results go here, too")
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="load checkpoints even if they name code, which then runs",
    )
    return parser.parse_args()


def report(changes: Changes, unchanged: bool) -> str:
    """The table, and what it comes to."""
    shown = changes.unchanged if unchanged else changes.modules
    columns = {
        "module": [change.module or "(the model)" for change in shown],
        "parameters": [f"{change.parameters:,}" for change in shown],
        "relative change": [number(change) for change in shown],
        "": [change.verdict for change in shown],
    }
    lines = [text_table(columns)] if shown else []
    still = changes.unchanged
    lines.append(f"\n{len(still)} of {len(changes.modules)} modules are unchanged")
    pools = [change for change in changes.modules if change.in_pool]
    if pools:
        dead = [change.module for change in still if change.in_pool]
        names = f": {', '.join(dead)}" if dead else ""
        lines.append(f"{len(dead)} of the {len(pools)} modules in pools{names}")
    for names, what in (
        (changes.only_before, "only in the first"),
        (changes.only_after, "only in the second"),
        (changes.other_shape, "of another shape"),
    ):
        if names:
            lines.append(f"{what}: {', '.join(names)}")
    return "\n".join(lines)


def number(change: Change) -> str:
    """The relative change, or why there is none."""
    if change.relative is not None:
        return f"{change.relative:.3g}"
    return "-" if change.verdict else "from zero"


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        if not args.threshold >= 0:
            raise ConfigError(f"--threshold {args.threshold}: 0 or more is accepted")
        if args.json is not None:
            check_file("--json", args.json, args.before, args.after)
        before, after = (
            find_state_dict(
                load_checkpoint_file(path, trust=args.trust_checkpoint), path
            )
            for path in (args.before, args.after)
        )
        changes = compare_weights(before, after, args.threshold)
        print(report(changes, args.unchanged))
        if args.json is not None:
            names = dict(before=args.before, after=args.after, threshold=args.threshold)
            write_json(args.json, {**names, **asdict(changes)})


if __name__ == "__main__":
    main()
