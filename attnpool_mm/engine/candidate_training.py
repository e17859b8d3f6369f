"""Training several configs, each in a process and a folder of its own."""

import fcntl
import json
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO

from mmengine.config import Config

from ..analysis.logs import NoSuchMetricError, read_scores
from ..utils.atomic_files import write_atomically
from ..utils.config_text import config_text
from ..utils.errors import ConfigError
from .interruption import Interrupted, SignalWatch
from .provenance import device_name, versions
from .script_process import environment_of, start_script, threads_each

POLL = 0.1  # seconds
RESULTS = "results.json"
LOCK = ".lock"


@dataclass
class Trained:
    """What came of a training.

    Attributes:
        config: Digest of the config.
        metric: Name of the metric.
        validations: What each validation logged, in order.
        measures: What was logged after the training, as `RobustnessHook` does.
        seconds: How long the process ran that finished the training.
        problem: Why there are no values, if there are none.
        versions: Of the packages that it ended with.
        machine: The `device` that it ended on, and the `threads` that a process of
            PyTorch's had on the CPU.
    """

    config: str
    metric: str = ""
    validations: list[dict[str, float]] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    problem: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str | int] = field(default_factory=dict)

    def has(self, metric: str | None) -> bool:
        """Whether it ended, and its validations logged a metric. Default: any."""
        metric = metric or self.metric
        logged = all(metric in scores for scores in self.validations)
        return not self.problem and bool(self.validations) and logged

    @property
    def values(self) -> list[float]:
        """The metric in each validation."""
        return [scores[self.metric] for scores in self.validations]

    @property
    def last(self) -> float | None:
        """The metric in the last validation."""
        return self.values[-1] if self.validations else None

    @property
    def best(self) -> float | None:
        """Its largest value; it is chosen on the data that it is measured on."""
        return max(self.values) if self.validations else None


def train_all(
    configs: Mapping[str, Config],
    folder: Path,
    script: Path,
    metric: str | None = None,
    jobs: int = 1,
) -> Iterator[tuple[str, Trained]]:
    """Train configs by `tools/train.py`, one after the other or several at once.

    Each has its config in `folder/NAME.py`, its work folder `folder/NAME/` and what it
    prints in `folder/NAME.txt`. What came of it is in `folder/results.json` as soon as
    it is over. Called again, it leaves out what is done, goes on with a training that
    was interrupted, and tries again what failed.

    Trainings at once share the processor's cores evenly, unless `OMP_NUM_THREADS` is
    set, and take turns at the GPUs where there are several.

    Args:
        configs (Mapping[str, Config]): Name → config.
        folder (Path): Where to write.
        script (Path): The path of `tools/train.py`.
        metric (str | None): The metric, such as 'accuracy/top1'. Default: the first
            that a validation logs.
        jobs (int): How many run at once. Default: 1.

    Yields:
        A name and what came of its training: first what is done, then each as it ends.
        A training that fails has a problem, and the next one follows.

    Raises:
        ConfigError: The folder holds other trainings of the same names, its
            `results.json` is none, or another process trains in it; or validations
            logged other metrics than this one, and no training before did.
        Interrupted: SIGTERM or SIGINT came; the trainings that ran have got it, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder) as lock:
        done = read_results(folder)
        texts = {name: config_text(cfg) for name, cfg in configs.items()}
        for name, text in texts.items():
            path = folder / f"{name}.py"
            if path.exists() and path.read_text() != text:
                raise ConfigError(
                    f"{path} is another config of that name: its training is kept; "
                    f"choose another folder, or delete it and {folder / name}"
                )
            known = name in done and done[name].config == digest_of(text)
            if not known and not path.exists() and (folder / name).exists():
                raise ConfigError(
                    f"{folder / name} is a training whose config, {path}, is gone, and "
                    "would be resumed; choose another folder, or delete it"
                )
        digests = {name: digest_of(text) for name, text in texts.items()}
        waiting = []
        for name, digest in digests.items():
            trained = done.get(name)
            if trained is None or trained.config != digest or not trained.has(metric):
                waiting.append(name)
            else:
                trained.metric = metric or trained.metric
                yield name, trained
        todo = {name: texts[name] for name in waiting}
        for name, status, seconds in _run_all(todo, folder, script, jobs, lock):
            logged_before = any(t.has(metric) for t in done.values())
            trained = _outcome(folder / name, status, metric, logged_before)
            trained.config, trained.seconds = digests[name], seconds
            trained.versions = versions()
            trained.machine = dict(device=device_name(), threads=threads_each(jobs))
            done[name] = trained
            _write_results(folder, done)
            yield name, trained


def digest_of(text: str) -> str:
    """A short digest of a config's text.

    Example:
        >>> digest_of('')
        'e3b0c44298fc1c14'
    """
    return sha256(text.encode()).hexdigest()[:16]


def read_results(folder: Path) -> dict[str, Trained]:
    """What is known of earlier trainings; nothing where there is no such file.

    Raises:
        ConfigError: The file is no table of results.
    """
    path = folder / RESULTS
    if not path.exists():
        return {}
    try:
        table = json.loads(path.read_text())
        return {name: Trained(**entry) for name, entry in table.items()}
    except (AttributeError, OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: it is no table of results: {error}") from error


def result_columns(results: Sequence[Trained]) -> dict[str, list[str]]:
    """The columns of a table: the metric in the last validation, and its best value.

    Example:
        >>> scores = [dict(top1=90.5), dict(top1=80.25)]
        >>> result_columns([Trained('', 'top1', scores), Trained('')])
        {'top1, last': ['80.25', 'failed'], 'best': ['90.50', 'failed']}
    """
    if not results:
        return {}
    metric = next((result.metric for result in results if result.metric), "metric")
    columns = {f"{metric}, last": "last", "best": "best"}
    return {
        heading: [_cell(getattr(result, name)) for result in results]
        for heading, name in columns.items()
    }


def _cell(value: float | None) -> str:
    return "failed" if value is None else f"{value:.2f}"


@contextmanager
def locked(folder: Path) -> Iterator[IO]:
    """Keep other processes from training in a folder.

    Trainings inherit the lock, so that it holds as long as one of them lives, even if
    the process that started them was killed.

    Args:
        folder (Path): The folder, which is there.

    Yields:
        The file that is locked.

    Raises:
        ConfigError: Another process has the lock.
    """
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"{folder}: trainings are running in it, started by another process; "
                "wait for their end, or choose another folder"
            ) from None
        yield lock


def _write_results(folder: Path, done: Mapping[str, Trained]) -> None:
    table = {name: asdict(trained) for name, trained in done.items()}
    write_atomically(folder / RESULTS, (json.dumps(table, indent=1) + "\n").encode())


def _run_all(
    texts: Mapping[str, str], folder: Path, script: Path, jobs: int, lock: IO
) -> Iterator[tuple[str, int, float]]:
    """Run the trainings of configs, which get the signals that this process gets.

    Yields:
        The name, the exit status and the seconds of each that ends.
    """
    waiting = list(texts)
    running: dict[int, tuple[str, BaseProcess, float]] = {}
    with SignalWatch() as watch:
        watch.waits = True
        try:
            while (waiting or running) and not watch.signum:
                for slot in range(jobs):
                    if waiting and slot not in running:
                        name = waiting.pop(0)
                        config = folder / f"{name}.py"
                        write_atomically(config, texts[name].encode())
                        process = start_script(
                            script,
                            [config, "--work-dir", folder / name, "--resume"],
                            folder / f"{name}.txt",
                            environment_of(slot, jobs),
                            lock,
                        )
                        running[slot] = (name, process, time.monotonic())
                time.sleep(POLL)
                ended = [s for s, (_, p, _) in running.items() if not p.is_alive()]
                for slot in ended:
                    name, process, start = running.pop(slot)
                    yield name, process.exitcode, time.monotonic() - start
        finally:  # a signal, or whoever asks has stopped to
            for _, process, _ in running.values():
                with suppress(ProcessLookupError):
                    os.kill(process.pid, watch.signum or signal.SIGTERM)
            for _, process, _ in running.values():
                process.join()
    if watch.signum and (waiting or running):
        names = [name for name, _, _ in running.values()] or waiting[:1]
        raise Interrupted(
            watch.signum,
            f"{', '.join(names)}: not finished; the same command goes on",
        )


def _outcome(
    work_dir: Path, status: int, metric: str | None, logged_before: bool
) -> Trained:
    trained = Trained("")
    log = work_dir.with_name(f"{work_dir.name}.txt")
    try:
        if status:
            raise ConfigError(f"exit status {status}: {_last_line(log)[:200]}")
        scores = read_scores(work_dir, metric)
    except ConfigError as error:
        if isinstance(error, NoSuchMetricError) and not logged_before:
            raise  # it is so in the next training, too
        trained.problem = str(error)
        return trained
    trained.metric, trained.validations, trained.measures = scores
    if not math.isfinite(trained.last):
        return Trained("", problem=f"{trained.metric} is {trained.last}")
    return trained


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "")
