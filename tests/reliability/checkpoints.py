"""Crafted checkpoints against everything that loads one.

    python tests/reliability/checkpoints.py

All files go through the functions that load, and a core of them, of each kind, through
everything else; with --all they all do, which takes three times as long. Each pair
runs in a process of its own, forked from one that has imported everything. It must
refuse the file in one line, or go on and do no harm. The table goes to
docs/reliability/checkpoints.md; the exit status is 1 if a pair fails.
"""

import argparse
import contextlib
import faulthandler
import gc
import os
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from checkpoint_entry_points import ENTRY_POINTS, LOADERS, Place  # noqa: E402
from crafted_checkpoints import CASES, CORE, Traps, craft  # noqa: E402
from mmengine.registry import (  # noqa: E402
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    TRANSFORMS,
)

import attnpool_mm.apis  # noqa: E402, F401 (makes loading safe by itself)
from attnpool_mm.utils.errors import ConfigError  # noqa: E402

GOOD, ONE_LINE, TRACEBACK = 0, 2, 3  # exit statuses of a child
SECONDS = 60
REPORT = ROOT / "docs" / "reliability" / "checkpoints.md"
# MMEngine's inferencers fail with it where a file names no config and they need one
NO_CONFIG = "Cannot find the config in the checkpoint"


@dataclass
class Outcome:
    """What became of a pair: its verdict, its last line, its seconds and memory."""

    verdict: str
    line: str
    seconds: float
    megabytes: float

    @property
    def passes(self) -> bool:
        """Whether it was refused in one line, or went on and did no harm."""
        return self.verdict in ("refused", "harmless")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument(
        "--entries", nargs="+", default=list(ENTRY_POINTS), choices=ENTRY_POINTS
    )
    parser.add_argument(
        "--all", action="store_true", help="every file through every entry point"
    )
    parser.add_argument("--verbose", action="store_true", help="print every pair")
    parser.add_argument("--report", type=Path, default=REPORT)
    return parser.parse_args()


def child(entry: str, path: Path, place: Place, log: Path) -> int:
    """Run an entry point in this, forked, process; return its exit status."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(output, 2)  # with what libraries in C say
    sys.stderr = stderr = os.fdopen(output, "w")
    faulthandler.enable(stderr)
    # Else PyTorch's threads may find the parent's pool, and abort
    torch.set_num_threads(1)
    os.chdir(place.folder)
    try:
        ENTRY_POINTS[entry](path, place)
        status = GOOD
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else TRACEBACK
    except ConfigError as error:
        stderr.write(f"error: {error}\n")
        status = ONE_LINE
    except Exception as error:
        stderr.write(f"error: {type(error).__name__}: {error}\n")
        status = ONE_LINE if NO_CONFIG in str(error) else TRACEBACK
    stderr.flush()
    return status


def attempt(entry: str, path: Path, place: Place, traps: Traps) -> Outcome:
    """Run an entry point on a file in a process of its own."""
    log = place.folder / "stderr.txt"
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        status = TRACEBACK
        with contextlib.suppress(BaseException):
            signal.alarm(SECONDS)  # whose default is to end the process
            status = child(entry, path, place, log)
        os._exit(status)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - start
    lines = [line for line in log.read_text().splitlines() if "Warning" not in line]
    errors = [line for line in lines if line.startswith("error: ")]
    traceback = any(line.startswith("Traceback") for line in lines)
    if not traps.untouched():
        verdict = "HARM"
    elif os.WIFSIGNALED(status):
        hung = os.WTERMSIG(status) == signal.SIGALRM
        verdict = "HANG" if hung else f"SIGNAL {os.WTERMSIG(status)}"
    elif os.WEXITSTATUS(status) == ONE_LINE and len(errors) == 1 and not traceback:
        verdict = "refused"
    elif os.WEXITSTATUS(status) == GOOD:
        verdict = "harmless"
    else:
        verdict = "TRACEBACK"
    line = (errors or lines or [""])[-1]
    return Outcome(verdict, line, seconds, usage.ru_maxrss / 1024)


def table(results: dict[tuple[str, str], Outcome], entries: list[str]) -> str:
    """Entry points by what became of the files."""
    rows = ["| loads a checkpoint | files | refused in one line | loaded, no harm |"
            " anything else | longest, s | most memory, MB |",
            "|---|---|---|---|---|---|---|"]  # fmt: skip
    for entry in entries:
        found = [outcome for (_, e), outcome in results.items() if e == entry]
        verdicts = Counter(outcome.verdict for outcome in found)
        others = sum(not outcome.passes for outcome in found)
        rows.append(
            f"| {entry} | {len(found)} | {verdicts['refused']} "
            f"| {verdicts['harmless']} | {others} "
            f"| {max(outcome.seconds for outcome in found):.1f} "
            f"| {max(outcome.megabytes for outcome in found):.0f} |"
        )
    return "\n".join(rows)


def report(results: dict[tuple[str, str], Outcome], args: argparse.Namespace) -> str:
    """The page: what was tried, the table, what failed."""
    failed = {pair: o for pair, o in results.items() if not o.passes}
    kinds = ", ".join(args.cases)
    intro = (
        f"{len(args.cases)} files and {len(args.entries)} ways to load one, "
        f"{len(results)} pairs, each in a process of its own of {SECONDS} s at most: "
        f"{len(results) - len(failed)} end in one line or do no harm, {len(failed)} do "
        "not. No harm: no code of the file runs, a folder that it names stays, and the "
        "process does not crash. The memory includes that of the imports."
    )
    lines = [
        "# Crafted checkpoints",
        "",
        *textwrap.wrap(intro, 96),
        "",
        "    python tests/reliability/checkpoints.py",
        "",
        table(results, args.entries),
        "",
        *textwrap.wrap(
            f"The files, made by `tests/crafted_checkpoints.py`: {kinds}.", 96
        ),
        "",
    ]
    for (case, entry), outcome in failed.items():
        lines.append(f"- {entry}, {case}: {outcome.verdict}: {outcome.line[:200]}")
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Run the command line."""
    args = parse_args()
    torch.set_num_threads(1)
    for registry in (MODELS, DATASETS, HOOKS, TRANSFORMS, METRICS):
        for scope in ("mmpretrain", "mmdet", "attnpool_mm"):
            with registry.switch_scope_and_registry(scope) as found:
                found.import_from_location()  # here, not in each child
    gc.freeze()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        place = made(Path(folder))
        traps = Traps(place.folder, place.work_dir)
        for case in args.cases:
            for entry in args.entries:
                if not (args.all or entry in LOADERS or case in CORE):
                    continue
                traps.ran.unlink(missing_ok=True)
                shutil.rmtree(place.work_dir, ignore_errors=True)
                path = craft(case, place.base(entry), traps)
                outcome = attempt(entry, path, place, traps)
                results[case, entry] = outcome
                if args.verbose or not outcome.passes:
                    print(f"{entry}, {case}: {outcome.verdict}: {outcome.line}")
                path.unlink()
    text = report(results, args)
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(text)
    print(text)
    raise SystemExit(any(not outcome.passes for outcome in results.values()))


def made(folder: Path) -> Place:
    """The configs and good checkpoints, made in another process.

    It trains, and leaves its loggers and its safe loading behind.
    """
    pid = os.fork()
    if pid == 0:
        Place.make(folder)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit("error: the good checkpoints could not be made")
    return Place(folder, folder / "work_dir")


if __name__ == "__main__":
    main()
