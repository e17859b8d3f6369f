"""Training several configs, each in a process and a folder of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from numbers import Real
from pathlib import Path

from mmengine.config import Config

from ..analysis.logs import of_training, read_work_dir
from ..utils.config_text import config_text
from ..utils.errors import ConfigError
from .interruption import Interrupted, SignalWatch

POLL = 0.1  # seconds
RESULTS = "results.json"
NO_METRICS = ("data_time", "time", "step", "epoch")


@dataclass
class Trained:
    """What came of a training.

    Attributes:
        config: Digest of the config.
        metric: Name of the metric.
        last: Its value in the last validation.
        best: Its largest value; it is chosen on the data that it is measured on.
        seconds: How long the process ran that finished the training.
        problem: Why there are no values, if there are none.
    """

    config: str
    metric: str = ""
    last: float | None = None
    best: float | None = None
    seconds: float = 0.0
    problem: str = ""


def train_all(
    configs: Mapping[str, Config],
    folder: Path,
    script: Path,
    metric: str | None = None,
) -> Iterator[tuple[str, Trained]]:
    """Train configs one after the other, by `tools/train.py`.

    Each has its config in `folder/NAME.py`, its work folder `folder/NAME/` and what it
    prints in `folder/NAME.txt`. What came of it is in `folder/results.json` as soon as
    it is over. Called again, it leaves out what is done, goes on with a training that
    was interrupted, and tries again what failed.

    Args:
        configs: Name → config.
        folder: Where to write.
        script: The path of `tools/train.py`.
        metric: The metric, such as 'accuracy/top1'. Default: the first that a
            validation logs.

    Yields:
        A name and what came of its training, in the order of `configs`. A training that
        fails has a problem, and the next one follows.

    Raises:
        ConfigError: The folder holds other trainings of the same names, or its
            `results.json` is none.
        Interrupted: SIGTERM or SIGINT came; the training that ran has got it, too.
    """
    done = read_results(folder)
    texts = {name: config_text(cfg) for name, cfg in configs.items()}
    for name, text in texts.items():
        path = folder / f"{name}.py"
        if path.exists() and path.read_text() != text:
            raise ConfigError(
                f"{path} is another config of that name: its training is kept; choose "
                "another folder, or delete it"
            )
    for name, text in texts.items():
        digest = sha256(text.encode()).hexdigest()[:16]
        trained = done.get(name)
        if trained is None or trained.problem or trained.config != digest:
            (folder / f"{name}.py").write_text(text)
            trained = _train(folder / name, script, metric)
            trained.config = digest
            done[name] = trained
            _write_results(folder, done)
        yield name, trained


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
        >>> result_columns([Trained('', 'top1', 80.25, 90.5), Trained('')])
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


def _write_results(folder: Path, done: Mapping[str, Trained]) -> None:
    table = {name: asdict(trained) for name, trained in done.items()}
    part = folder / f"{RESULTS}.part"
    part.write_text(json.dumps(table, indent=1) + "\n")
    part.replace(folder / RESULTS)


def _train(work_dir: Path, script: Path, metric: str | None) -> Trained:
    config, log = (work_dir.with_name(work_dir.name + end) for end in (".py", ".txt"))
    start = time.monotonic()
    command = (sys.executable, script, config, "--work-dir", work_dir, "--resume")
    status = _run([str(word) for word in command], log)
    trained = Trained("", seconds=time.monotonic() - start)
    try:
        if status:
            raise ConfigError(f"exit status {status}: {_last_line(log)[:200]}")
        values = _validations(work_dir, metric)
    except ConfigError as error:
        trained.problem = str(error)
        return trained
    trained.metric, trained.last = values[-1]
    trained.best = max(value for _, value in values)
    return trained


def _run(command: list[str], log: Path) -> int:
    """Run a training, which gets the signals that this process gets."""
    with SignalWatch() as watch, log.open("a") as output:
        watch.waits = True
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        passed_on = False
        while process.poll() is None:
            if watch.signum and not passed_on:
                process.send_signal(watch.signum)
                passed_on = True
            time.sleep(POLL)
    if watch.signum:
        raise Interrupted(
            watch.signum, f"{log.stem} is not finished; the same command goes on"
        )
    return process.returncode


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "")


def _validations(work_dir: Path, metric: str | None) -> list[tuple[str, float]]:
    """The metric's name and value in each validation of a work folder's training."""
    records = [r for _, r in read_work_dir(work_dir) if not of_training(r)]
    if metric is None:
        names = (
            name
            for record in records
            for name, value in record.items()
            if isinstance(value, Real) and name not in NO_METRICS
        )
        metric = next(names, None)
    values = [(metric, float(r[metric])) for r in records if metric in r]
    if not values:
        raise ConfigError(f"{work_dir}: no validation logged {metric}")
    return values
