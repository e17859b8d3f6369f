"""Kill trainings, resume them, and compare what comes of it: a table.

    python tests/reliability/kills.py --out docs/reliability/kills.md

Every training is the real `tools/train.py` on a small classifier, in a process that is
forked from this one, which has imported everything.
"""

import argparse
import contextlib
import functools
import gc
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from kill_points import kill_at  # noqa: E402
from mmengine.config import Config  # noqa: E402
from tool_modules import load_tool  # noqa: E402

from attnpool_mm.checkpoint import load_checkpoint_file  # noqa: E402
from attnpool_mm.engine import adjustments  # noqa: E402
from attnpool_mm.engine.newest_checkpoint import find_resumable  # noqa: E402
from attnpool_mm.utils.errors import ConfigError  # noqa: E402

EPOCHS = 3
# Draws its crops; two steps an epoch
CONFIG = """
_base_ = '{root}/configs/classification/digits/resnet18-nlp-stage-end_1xb64_digits.py'
model = dict(
    backbone=dict(
        _delete_=True, type='ResNet_CIFAR', depth=18, base_channels=4, stem_channels=4),
    head=dict(in_channels=32))
train_dataloader = dict(batch_size=16, num_workers=0, dataset=dict(indices=32))
val_dataloader = dict(batch_size=16, num_workers=0, dataset=dict(indices=32))
test_dataloader = val_dataloader
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_best='accuracy/top1'))
custom_hooks = [
    dict(type='attnpool_mm.EpochSeedHook'), dict(type='EMAHook', momentum=0.3)]
optim_wrapper = dict(optimizer=dict(lr=0.02))
train_cfg = dict(max_epochs={epochs})
randomness = dict(seed=0)
"""
KEEP_ALL = "default_hooks.checkpoint.max_keep_ckpts=-1"
# Changes of the checkpoints' files, counted by `kill_points.kill_at`: opening, writing
# and renaming of each, and removals. The first epoch makes 15: its checkpoint, what
# `last_checkpoint` says, the best one, the checkpoint again, `last_checkpoint` again.
AIMED = [
    (2, "1", "the first checkpoint half-written"),
    (8, "all", "the first best checkpoint half-written"),
    (17, "1", "the second checkpoint half-written"),
    (18, "all", "the second checkpoint written, not renamed"),
    (19, "1", "the second checkpoint renamed, `last_checkpoint` still the old one"),
    (20, "all", "`last_checkpoint` half-written"),
    (21, "1", "`last_checkpoint` written, not renamed"),
    (22, "1", "the first checkpoint about to be removed"),
    (24, "1", "the second best checkpoint half-written"),
    (26, "all", "the checkpoint that names the best one half-written"),
]
# With MMEngine's hook: the opening of a checkpoint and of `last_checkpoint`, of the
# best one, of both again; the first one's removal, the opening of the second
MMENGINES = (7, "1", "the first checkpoint removed, the second about to be written")


class Trials:
    """Trainings of one config in folders of their own.

    Args:
        root: Where the folders are made.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "tiny.py"
        self.config.write_text(CONFIG.format(root=ROOT, epochs=EPOCHS))
        Config.fromfile(self.config).dump(self.config)  # without its bases
        Config.pretty_text = property(repr)  # formatting takes most of a run
        self.tool = load_tool("train.py")
        self.whole = self.folder("whole")
        start = time.monotonic()
        status, text = self.end(self.start(self.whole))
        if status != 0:
            raise RuntimeError(f"the uninterrupted training failed:\n{text}")
        self.seconds = time.monotonic() - start
        print(f"{self.seconds:.1f} s a training")

    def folder(self, name: str) -> Path:
        """A work folder."""
        return self.root / name

    def start(
        self,
        folder: Path,
        *words: str,
        before: Callable[[], None] | None = None,
        **environment: str,
    ) -> tuple[int, Path]:
        """Fork a process that trains; return its number and its output's file."""
        log = Path(f"{folder}.{environment.get('RANK', 0)}.out")
        process = os.fork()
        if process:
            return process, log
        status = 1
        try:
            os.setpgid(0, 0)
            output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.environ.update(environment)
            sys.argv = ["train.py", str(self.config), "--work-dir", str(folder), *words]
            if before is not None:
                before()
            status = 0
            self.tool.main()
        except SystemExit as stop:
            status = stop.code or 0
        except BaseException:
            status = 1
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def end(self, started: tuple[int, Path]) -> tuple[int, str]:
        """Wait for a process; return its exit status and what it printed."""
        process, log = started
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        return status, log.read_text() if log.exists() else ""

    def train(self, folder: Path, *words: str, **keys) -> tuple[int, str]:
        """Train to the end, or to whatever ends it."""
        return self.end(self.start(folder, *words, **keys))

    def resumed_equals(self, folder: Path, *words: str) -> bool:
        """Resume a training, and compare its end with the uninterrupted one's."""
        status, text = self.train(folder, "--resume", *words)
        if status != 0:
            print(text[-3000:], file=sys.stderr)
            return False
        expected, resumed = (
            load_checkpoint_file(f / f"epoch_{EPOCHS}.pth")
            for f in (self.whole, folder)
        )
        keys = ("state_dict", "ema_state_dict", "optimizer", "param_schedulers")
        return all(same(expected[key], resumed[key]) for key in keys)


def same(a: object, b: object) -> bool:
    """Whether two nested parts of checkpoints are equal to the last bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if torch.is_tensor(a) else a == b


def kept(folder: Path) -> str | None:
    """The checkpoint that is there to go on from; None if none is."""
    try:
        found, _ = find_resumable(folder)
    except ConfigError:
        return None
    return found


def send_at_random(
    trials: Trials, folder: Path, signum: int, *words: str
) -> tuple[int, str]:
    """Send a signal at a random moment of a training; again, if it had ended."""
    status = 0
    while status == 0:
        shutil.rmtree(folder, ignore_errors=True)
        started = trials.start(folder, *words)
        time.sleep(random.uniform(0.2, 1) * trials.seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(started[0], signum)
        status, text = trials.end(started)
    return status, text


def random_kills(trials: Trials, signum: int, number: int) -> Iterator[list]:
    """Rows on signals at random moments, with one and with all checkpoints kept."""
    name = signal.Signals(signum).name
    for label, words in (("1", []), ("all", ["--cfg-options", KEEP_ALL])):
        had = lost = equal = middle = 0
        for i in range(number):
            folder = trials.folder(f"{name}-{label}-{i}")
            status, text = send_at_random(trials, folder, signum, *words)
            middle += (folder / "interrupted.pth").exists()
            if signum == signal.SIGTERM:
                lines = [t for t in text.splitlines() if t.startswith("stopped by")]
                assert status in (143, -signum), text[-2000:]  # -: before `main`
                assert len(lines) == (status > 0) and "Traceback" not in text, text
            has = kept(folder) is not None
            had += has
            lost += "Epoch(train) [2]" in text and not has
            equal += trials.resumed_equals(folder, *words)
        what = f"{name} at a random moment"
        if signum == signal.SIGTERM:
            what += f", {middle} in the middle of an epoch"
        yield [what, label, number, had, lost, equal]


def aimed_kills(trials: Trials) -> Iterator[list]:
    """Rows on SIGKILL as a checkpoint is written."""
    for moment, label, what in AIMED:
        words = ["--cfg-options", KEEP_ALL] if label == "all" else []
        folder = trials.folder(f"aimed-{moment}")
        status, text = trials.train(
            folder, *words, before=functools.partial(kill_at, moment, folder)
        )
        assert status == -signal.SIGKILL, text[-2000:]
        has = kept(folder) is not None
        lost = not has and moment > 3  # the first checkpoint is renamed in the third
        equal = trials.resumed_equals(folder, *words)
        yield [f"SIGKILL, {what}", label, 1, int(has), int(lost), int(equal)]


def mmengines_kill(trials: Trials) -> Iterator[list]:
    """A row on MMEngine's own hook and loop, for comparison."""
    moment, label, what = MMENGINES
    folder = trials.folder("mmengine")

    def plain():
        adjustments.use_resumable_training = lambda cfg: None
        kill_at(moment, folder)

    status, text = trials.train(folder, before=plain)
    assert status == -signal.SIGKILL, text[-2000:]
    has = kept(folder) is not None
    yield [f"MMEngine's hook: SIGKILL, {what}", label, 1, int(has), int(not has), "-"]


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[int], None]]:
    """A file system of its own in memory; it gives what resizes it. Needs root."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield lambda size: subprocess.run(
            ["mount", "-o", f"remount,size={size}", str(folder)], check=True
        )
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(trials: Trials) -> Iterator[list]:
    """Rows on a disk without room for another checkpoint."""
    size = (trials.whole / f"epoch_{EPOCHS}.pth").stat().st_size
    for label, words, room in (
        ("all", ["--cfg-options", KEEP_ALL], 3.5),
        ("1", [], 1.5),
    ):
        disk = trials.folder(f"disk-{label}")
        try:
            with small_disk(disk, int(room * size)) as resize:
                status, text = trials.train(disk / "run", *words)
                found = check_full(status, text, disk / "run")
                resize(20 * size)
                equal = trials.resumed_equals(disk / "run", *words)
        except (subprocess.CalledProcessError, PermissionError):
            yield [
                "disk full (not tried: no right to mount one)",
                label,
                0,
                0,
                "-",
                "-",
            ]
            continue
        has = found is not None
        row = [f"disk full: room for {room} checkpoints", label, 1]
        yield [*row, int(has), int(not has), int(equal)]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))

    folder = trials.folder("limited")
    trials.train(folder, "--cfg-options", "train_cfg.max_epochs=2")
    status, text = trials.train(folder, "--resume", before=limit)
    found = check_full(status, text, folder)
    equal = trials.resumed_equals(folder)
    row = ["no file may have a checkpoint's size (RLIMIT_FSIZE)", "1", 1]
    yield [*row, 1, int(found is None), int(equal)]


def check_full(status: int, text: str, folder: Path) -> str | None:
    """Hold what a training without room leaves: a line, and whole files."""
    assert status == 2 and "Traceback" not in text, text[-3000:]
    lines = [line for line in text.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, text[-3000:]
    assert not list(folder.glob(".*partial")), list(folder.iterdir())
    for path in folder.glob("*.pth"):
        load_checkpoint_file(path)
    return kept(folder)


def start_ranks(trials: Trials, folder: Path, *words: str) -> list:
    """Start a training in two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        trials.start(
            folder,
            *("--launcher", "pytorch", *words),
            **{"RANK": rank, "LOCAL_RANK": rank, **common},
        )
        for rank in "01"
    ]


def two_ranks(trials: Trials) -> Iterator[list]:
    """Rows on two processes of which one gets a signal."""
    whole = trials.folder("ranks-whole")
    for started in start_ranks(trials, whole):
        status, text = trials.end(started)
        assert status == 0, text[-3000:]
    for signum in (signal.SIGTERM, signal.SIGKILL):
        folder = trials.folder(f"ranks-{signum}")
        ranks = start_ranks(trials, folder)
        while not (folder / "epoch_1.pth").exists():
            time.sleep(0.01)
        os.kill(ranks[1][0], signum)
        start = time.monotonic()
        ended = [trials.end(started) for started in ranks]
        seconds = time.monotonic() - start
        assert seconds < 30
        if signum == signal.SIGTERM:
            assert [status for status, _ in ended] == [143, 143], ended
        has = kept(folder) is not None
        for started in start_ranks(trials, folder, "--resume"):
            status, text = trials.end(started)
            assert status == 0, text[-3000:]
        a, b = (
            load_checkpoint_file(f / f"epoch_{EPOCHS}.pth") for f in (whole, folder)
        )
        # what the batch norms of each process have seen is averaged after an epoch
        equal = same(
            *({k: v for k, v in c["state_dict"].items() if "running" not in k}
              for c in (a, b))
        )  # fmt: skip
        name = signal.Signals(signum).name
        what = f"{name} to one of two processes: both ended in {seconds:.1f} s"
        yield [what, "1", 1, int(has), int(not has), int(equal)]


def table(rows: list[list]) -> str:
    """The rows in Markdown."""
    head = [
        *("what ended the training", "checkpoints kept", "trials"),
        *("had a checkpoint", "left with nothing", "resumed to the same bits"),
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def warm_up() -> None:
    """Import what trainings import, so that forks need not."""
    import matplotlib.pyplot  # noqa: F401
    import mmdet  # noqa: F401
    import sklearn.datasets  # noqa: F401
    from mmpretrain.utils import register_all_modules

    from attnpool_mm.registry import HOOKS, LOOPS, MODELS

    torch.set_num_threads(1)
    register_all_modules()
    for registry in (HOOKS, LOOPS, MODELS):
        registry.import_from_location()
    gc.freeze()  # MMEngine collects garbage; not in what was imported


def main(arguments: list[str] | None = None) -> list[list]:
    """Run everything; return the table's rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random", type=int, default=10, help="kills a setting")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, help="the page to write")
    args = parser.parse_args(arguments)
    random.seed(args.seed)
    warm_up()
    root = Path(tempfile.mkdtemp(prefix="kills-"))
    rows = []
    start = time.monotonic()
    try:
        trials = Trials(root)
        for part in (
            random_kills(trials, signal.SIGKILL, args.random),
            aimed_kills(trials),
            mmengines_kill(trials),
            random_kills(trials, signal.SIGTERM, max(1, args.random // 2)),
            full_disk(trials),
            two_ranks(trials),
        ):
            for row in part:
                print(f"{time.monotonic() - start:5.0f} s", *row, sep=" | ", flush=True)
                rows.append(row)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(PAGE.format(table=table(rows), epochs=EPOCHS))
    return rows


PAGE = """# Kills

Written by `python tests/reliability/kills.py --out docs/reliability/kills.md`.

Every training is `tools/train.py` on a small classifier on the CPU: {epochs} epochs of
two steps, with random crops, an average of the weights (EMA), momentum, a validation
after every epoch and `save_best`. It was ended, resumed with `--resume`, and
its last checkpoint compared with the uninterrupted training's: weights, average,
optimizer and schedules, bit for bit (of two processes the weights). *Had a
checkpoint*: there was one to go on from, and otherwise it started anew. *Left with
nothing*: there was none, though one had been written.

{table}
"""

if __name__ == "__main__":
    main()
