"""Find the variants of a network that fit a memory, and train them.

    python tools/analysis_tools/equal_memory.py CONFIG --limit 256kB
    python tools/analysis_tools/equal_memory.py CONFIG --limit 256kB --top 1 --train
    python tools/analysis_tools/equal_memory.py CONFIG --limit 256kB --near memory

Strides, width, image size and pool are varied; what fits is listed with its cost. This
is the paper's comparison: which pool is the best at equal memory?
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.config import Config

from attnpool_mm.analysis.equal_memory import (
    Candidate,
    columns_of,
    entry_of,
    first_of_each_pool,
    fitting,
    measure_variants,
    nearest,
    summary,
)
from attnpool_mm.analysis.results import text_table, write_json
from attnpool_mm.analysis.variants import (
    Choices,
    choices_of,
    read_digits,
    vary,
)
from attnpool_mm.engine import launch, memory_options, preflight
from attnpool_mm.engine.arguments import check_arguments
from attnpool_mm.engine.candidate_training import Trained, result_columns, train_all
from attnpool_mm.engine.interruption import Interrupted
from attnpool_mm.engine.work_dir import check_file, check_work_dir
from attnpool_mm.utils.checks import check_int
from attnpool_mm.utils.errors import ConfigError
from attnpool_mm.utils.sizes import parse_size

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
TRAINING = ("train_dataloader", "train_cfg", "val_dataloader", "val_evaluator")


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--limit",
        required=True,
        metavar="SIZE",
        help="the memory for the activations of one image, such as 256kB",
    )
    parser.add_argument(
        "--near",
        choices=("memory", "flops"),
        help="list those whose memory or FLOPs are the nearest to --limit, the nearest "
        "first, and not those below it; FLOPs are given as their number",
    )
    parser.add_argument(
        "--strides",
        nargs="+",
        help="strides of the stages, such as 1222 2222, or 16,2,2 (default: the "
        "config's, and those with 1, 2 and 4 in the first stage)",
    )
    parser.add_argument(
        "--widths",
        nargs="+",
        type=float,
        help="channels over those of the standard network (default: the config's, "
        "three quarters and half of them)",
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=int,
        help="widths of the square images in pixels (default: the config's, three "
        "quarters and half of it)",
    )
    parser.add_argument(
        "--pools",
        nargs="+",
        metavar="POOL",
        help="types of pools, or 'strided' for strided convolutions (default: the "
        "config's and strided)",
    )
    memory_options.add_arguments(parser, "a quarter of --limit")
    parser.add_argument(
        "--top",
        type=int,
        metavar="K",
        help="of each pool, only the K that fit with the most FLOPs",
    )
    parser.add_argument(
        "--train", action="store_true", help="train those listed, one after the other"
    )
    parser.add_argument(
        "--work-dir",
        help="folder for the trainings (default: ./work_dirs/NAME_OF_CONFIG-SIZE)",
    )
    parser.add_argument(
        "--metric",
        help="the metric of the validation, such as accuracy/top1 (default: the first)",
    )
    parser.add_argument("--json", metavar="FILE", help="write all that was measured")
    parser.add_argument(
        "--markdown", action="store_true", help="print the table as Markdown"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=launch.KeyValueAction,
        metavar="KEY=VALUE",
        help="config values to override, such as randomness.seed=0",
    )
    return parser.parse_args(arguments)


def read_config(args: argparse.Namespace) -> Config:
    """Read the config; with `--train`, check that it can be trained.

    Raises:
        ConfigError: It cannot be used.
    """
    cfg = launch.read_config(args.config)
    launch.merge_options(cfg, args.cfg_options)
    splits = ("train", "val") if args.train else ()
    check_arguments(cfg, splits)
    for section in TRAINING if args.train else ():
        if cfg.get(section) is None:
            raise ConfigError(f"--train: config {args.config} has no {section}")
    preflight.check_data_paths(cfg, splits)
    return cfg


def choices(cfg: Config, args: argparse.Namespace) -> Choices:
    """What is varied: the command line's values, or those to begin with.

    Raises:
        ConfigError: A value is out of range, or nothing is left to vary.
    """
    values = choices_of(cfg)
    if args.strides:
        values.strides = [read_digits(text, "--strides") for text in args.strides]
    for width in args.widths or ():
        if not 0 < width < 100:
            raise ConfigError(f"--widths {width}: a positive factor is accepted")
    for size in args.sizes or ():
        check_int("--sizes", size)
    values.widths = args.widths or values.widths
    values.sizes = args.sizes or values.sizes
    values.pools = args.pools or values.pools
    given = args.strides or args.widths or args.sizes or args.pools
    if not (given or values.strides or values.widths or values.pools):
        raise ConfigError(
            f"config {args.config}: its backbone takes no strides, width or pool; "
            "--sizes can be varied, or wrap it in a PooledBackbone"
        )
    return values


def measure(args: argparse.Namespace, cfg: Config, limit: int) -> list[Candidate]:
    """Measure all variants.

    Raises:
        ConfigError: An option cannot be used, or no variant can be built.
    """
    quarter = None if args.near == "flops" else max(1, limit // 4)
    attention, prepare = memory_options.read_arguments(args, quarter)
    candidates = measure_variants(
        cfg, choices(cfg, args).variants(), args.bytes, attention, prepare
    )
    if all(candidate.problem for candidate in candidates):
        raise ConfigError(f"no variant can be built: {candidates[0].problem}")
    return candidates


def table(
    candidates: Sequence[Candidate], trained: dict[str, Trained]
) -> dict[str, list[str]]:
    """The table of candidates, with the accuracies of those that were trained."""
    results = [trained[c.variant.name] for c in candidates] if trained else []
    return columns_of(candidates) | result_columns(results)


def as_json(
    args: argparse.Namespace,
    limit: int,
    candidates: Sequence[Candidate],
    trained: dict[str, Trained],
) -> dict[str, Any]:
    """All that was measured."""
    in_bytes = None if args.near == "flops" else limit
    entries = [entry_of(candidate, in_bytes) for candidate in candidates]
    for entry in entries:
        result = trained.get(entry["name"])
        entry["trained"] = result and dict(
            asdict(result), last=result.last, best=result.best
        )
    return dict(
        config=args.config,
        limit=limit,
        near=args.near,
        bytes_per_value=args.bytes,
        attention=args.attention,
        candidates=entries,
    )


def work_dir(args: argparse.Namespace) -> Path:
    """The folder for the trainings.

    Raises:
        ConfigError: It cannot be written to.
    """
    name = f"{Path(args.config).stem}-{args.limit.replace(' ', '')}"
    folder = Path(args.work_dir or Path("work_dirs") / name)
    check_work_dir(str(folder))
    return folder


def train(
    args: argparse.Namespace, cfg: Config, listed: Sequence[Candidate]
) -> dict[str, Trained]:
    """Train the candidates that are listed, saying what came of each.

    Raises:
        ConfigError: The folder cannot be used.
    """
    folder = work_dir(args)
    folder.mkdir(parents=True, exist_ok=True)
    configs = {c.variant.name: vary(cfg, c.variant) for c in listed}
    trained = {}
    for name, result in train_all(configs, folder, TRAIN, args.metric):
        trained[name] = result
        said = result.problem or f"{result.metric} {result.last:.2f}"
        print(f"[{len(trained)}/{len(configs)}] {name}: {said}", flush=True)
    return trained


def run(args: argparse.Namespace) -> None:
    """Measure, print, train and write.

    Raises:
        ConfigError: An option or the config cannot be used, or a training failed.
    """
    limit = parse_size(args.limit, "--limit")
    if args.near == "flops" and "B" in args.limit.upper():
        raise ConfigError(
            f"--limit {args.limit} with --near flops: a number of FLOPs is accepted"
        )
    if args.top is not None:
        check_int("--top", args.top)
    if args.json:
        check_file("--json", args.json, args.config)
    cfg = read_config(args)
    if args.train:
        work_dir(args)
    candidates = measure(args, cfg, limit)
    listed, said = fitting(candidates, limit), summary(candidates, limit, args.bytes)
    if args.near:
        listed = nearest(candidates, limit, args.near)
        said = f"{len(listed)} of {len(candidates)} variants could be measured."
    if args.top is not None:
        listed = first_of_each_pool(listed, args.top)
    trained = train(args, cfg, listed) if args.train else {}
    if trained:
        listed.sort(key=lambda c: -(trained[c.variant.name].last or 0))
    tables = [text_table(table(listed, trained), args.markdown)] if listed else []
    print(*tables, said, sep="\n\n")
    if args.json:
        write_json(args.json, as_json(args, limit, candidates, trained))
    failed = [name for name, result in trained.items() if result.problem]
    if failed:
        raise ConfigError(f"trainings that failed: {', '.join(failed)}")


def main() -> None:
    """Run the command line."""
    args = parse_args()
    try:
        with launch.one_line_errors():
            run(args)
    except Interrupted as stop:
        print(stop.message, file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
