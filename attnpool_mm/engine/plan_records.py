"""What is known of a plan's trainings: one JSON file, in the plan's order."""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..analysis.evidence_file import parse_results
from ..utils.atomic_files import write_atomically
from ..utils.config_text import config_text
from ..utils.errors import ConfigError
from .candidate_training import Trained, digest_of
from .plan import Plan, Run

LOCAL = ("cache", "data_root", "work_dir")  # keys that say where things lie
Record = dict[str, Any]
# What checking a file of any content may raise; a ConfigError is a ValueError
WRONG = (
    *(ArithmeticError, AttributeError, LookupError, OSError, RecursionError),
    *(TypeError, ValueError),
)


def read_records(path: Path) -> dict[str, Any]:
    """Read a plan's results; an empty dict where there is no such file.

    Raises:
        ConfigError: The file is none of results.
    """
    if not path.exists():
        return {}
    try:
        results = json.loads(path.read_text())
        parse_results(results, path.name)
        for run in results["runs"]:
            run["config"]["digest"]
            run["problem"] = run.get("problem", "")  # as `parse_results` takes it
            run["seconds"] = run.get("seconds", 0)
    except WRONG as error:
        raise ConfigError(
            f"--json {path}: it holds no results of a plan ({error}); another file is "
            "accepted"
        ) from error
    return results


def is_current(record: Record | None, digest: str, metric: str) -> bool:
    """Whether a record is of this very config, with a value of the metric or a problem.

    Example:
        >>> record = dict(config=dict(digest='0a'), problem='', epochs=[dict(top1=70)])
        >>> is_current(record, '0a', 'top1'), is_current(record, '0a', 'top5')
        (True, False)
        >>> is_current(record | dict(epochs=[]), '0a', 'top1')
        False
    """
    if record is None or record["config"]["digest"] != digest:
        return False
    last = record["epochs"][-1:]  # one that was cut off has none, and no problem
    return bool(record["problem"]) or any(metric in epoch for epoch in last)


def config_digest(cfg: Config) -> str:
    """A digest of a config that does not depend on where data lie on a machine."""
    content = cfg.to_dict()
    return digest_of(config_text(Config(_without_places(content, _roots(content)))))


def _roots(value: Any) -> tuple[str, ...]:
    """The folders that a config names as `data_root`."""
    if isinstance(value, dict):
        own = value.get("data_root")
        below = [root for item in value.values() for root in _roots(item)]
        return (*([own] if own and isinstance(own, str) else []), *below)
    if isinstance(value, list | tuple):
        return tuple(root for item in value for root in _roots(item))
    return ()


def _without_places(value: Any, roots: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in LOCAL}
        return {k: _without_places(v, roots) for k, v in kept.items()}
    if isinstance(value, list | tuple):
        return type(value)(_without_places(item, roots) for item in value)
    if isinstance(value, str):
        root = next(filter(value.startswith, roots), "")
        return value[len(root) :]
    return value


def record_of(
    run: Run, digest: str, cost: Mapping[str, Any], trained: Trained
) -> Record:
    """The record of one training.

    Args:
        run (Run): The training.
        digest (str): That of its config.
        cost (Mapping[str, Any]): What its network costs.
        trained (Trained): What came of it.
    """
    return dict(
        name=run.name,
        levels=run.levels,
        seed=run.seed,
        config=dict(file=_short(run.file), options=run.options, digest=digest),
        versions=trained.versions,
        machine=trained.machine,
        epochs=trained.validations,
        measures=trained.measures,
        cost=dict(cost),
        seconds=round(trained.seconds, 1),
        problem=trained.problem,
    )


@contextmanager
def one_writer(path: Path) -> Iterator[None]:
    """Let other processes wait that would read and write a file of results meanwhile.

    Where the system has no locks of folders they do not wait.

    Args:
        path (Path): The file; its folder is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_records(
    path: Path, plan: Plan, records: Mapping[str, Record], timing: dict | None
) -> None:
    """Write a plan's results at once: a kill, or a full disk, leaves those of before.

    Args:
        path (Path): The file.
        plan (Plan): The plan.
        records (Mapping[str, Record]): Name → record.
        timing (dict | None): Times of training steps, if they were measured.

    Raises:
        ConfigError: It cannot be written.
    """
    results = dict(
        plan=_short(plan.path),
        metric=plan.metric,
        seeds=len(plan.seeds),
        axes=plan.levels,
        reference=plan.reference,
        exclude=list(plan.exclude),
        runs=in_order(plan, records.values()),
    )
    if timing:
        results["timing"] = timing
    write_atomically(path, (json.dumps(results, indent=1) + "\n").encode())


def in_order(plan: Plan, records: Iterable[Record]) -> list[Record]:
    """Records in the order of the plan's runs; those of no run are left out."""
    by_name = {record["name"]: record for record in records}
    return [by_name[run.name] for run in plan.runs() if run.name in by_name]


def _short(path: Path) -> str:
    """A path in the project, seen from its root."""
    parts = path.resolve().parts
    if "configs" in parts:
        return "/".join(parts[len(parts) - 1 - parts[::-1].index("configs") :])
    return path.name
