"""What a training logged: the records of a work folder's runs, in order."""

import json
from numbers import Real
from pathlib import Path

from ..utils.checks import nearest
from ..utils.errors import ConfigError

LOGS = "*/vis_data/scalars.json"
LAMBDA = "spem_lambda/"  # how the names of the λ of SPEM start
MEASURES = ("shift_consistency", "corruption/")  # how those of `RobustnessHook` start
NO_METRICS = ("data_time", "time", "step", "epoch")
Records = list[tuple[int, dict]]


class NoSuchMetricError(ConfigError):
    """The validations logged metrics, and not the one that is asked for."""


def of_training(record: dict) -> bool:
    """Whether a record is from an iteration, and not from a validation."""
    return "iter" in record or any(key.startswith(LAMBDA) for key in record)


def is_measured(record: dict) -> bool:
    """Whether a record is of what `RobustnessHook` measures after a training."""
    return any(key.startswith(MEASURES) for key in record)


def read_measures(work_dir: Path) -> dict[str, float]:
    """What `RobustnessHook` measured in the newest run that it did, {} if in none.

    Args:
        work_dir (Path): The folder of the training.

    Raises:
        ConfigError: A log is damaged.
    """
    runs = [_read(path) for path in sorted(work_dir.glob(LOGS))]
    measured = [record for run in runs for record in run if is_measured(record)]
    newest = measured[-1] if measured else {}
    return {key: value for key, value in newest.items() if key.startswith(MEASURES)}


def read_run(path: Path) -> Records:
    """The records of one `scalars.json`, each with the iteration it is from.

    A validation's record, whose step may count epochs, is from the iteration before.
    What is measured after the training is left out.
    """
    records = []
    iteration = 0
    for record in _read(path):
        if is_measured(record):
            continue
        if of_training(record):
            iteration = record["step"]
        records.append((iteration, record))
    return records


def _read(path: Path) -> list[dict]:
    records = []
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):  # a training that was killed while it wrote
                break
            raise ConfigError(f"{path}, line {number}: this is no JSON") from None
        records.append(record)
    return records


def read_work_dir(work_dir: Path) -> Records:
    """The records of all runs in a work folder, in order.

    A run, resumed or started anew, replaces what earlier ones wrote from its first
    iteration on. One that trained no more, since it was resumed after the last
    iteration, replaces the validations that it repeated.

    Args:
        work_dir (Path): The folder.

    Returns:
        Pairs: the iteration that a record is from, and the record.

    Raises:
        ConfigError: The folder is not there, or holds no log of a training.
    """
    if not work_dir.is_dir():
        raise ConfigError(f"{work_dir}: there is no such folder")
    records: Records = []
    for path in sorted(work_dir.glob(LOGS)):
        run = read_run(path)
        trained = [iteration for iteration, record in run if of_training(record)]
        start = trained[0] if trained else 1 + max((i for i, _ in records), default=0)
        # A resumed training first repeats a validation that its checkpoint is before.
        head = [record for iteration, record in run if iteration == 0]
        head = [(start - 1, record) for record in head if not of_training(record)]
        repeated = {record["step"] for _, record in head}
        records = [
            (iteration, record)
            for iteration, record in records
            if iteration < start
            and (of_training(record) or record["step"] not in repeated)
        ]
        records += head + run[len(head) :]
    if not records:
        raise ConfigError(
            f"{work_dir}: {LOGS} with records of a training is expected; "
            "LoggerHook writes it through a LocalVisBackend"
        )
    return records


def read_scores(
    work_dir: Path, metric: str | None = None
) -> tuple[str, list[dict[str, float]], dict[str, float]]:
    """What a training's validations logged, and what was logged beside them.

    Args:
        work_dir (Path): Its work folder.
        metric (str | None): A name that every validation logs. Default: the first that
            one does.

    Returns:
        The metric's name, all metrics of each validation, and what `RobustnessHook`
        measured after the training.

    Raises:
        NoSuchMetricError: The validations logged other metrics.
        ConfigError: No validation logged any, or the last one logged none.
    """
    records = [_scores(r) for _, r in read_work_dir(work_dir) if not of_training(r)]
    if metric is None:
        metric = next((name for record in records for name in record), None)
    validations = [record for record in records if metric in record]
    logged = {name for record in records for name in record}
    if not validations and logged:
        hint = nearest(metric, sorted(logged))
        raise NoSuchMetricError(f"{work_dir}: no validation logged {metric}; {hint}")
    if not validations:
        raise ConfigError(f"{work_dir}: no validation logged {metric or 'anything'}")
    if not records[-1]:
        raise ConfigError(
            f"{work_dir}: the last validation logged no metric, as of a detector that "
            "finds nothing"
        )
    return metric, validations, read_measures(work_dir)


def _scores(record: dict) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in record.items()
        if isinstance(value, Real) and name not in NO_METRICS
    }
