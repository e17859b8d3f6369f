"""Running a plan to its end, in as many sittings as it takes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from shutil import copyfile
from statistics import mean
from typing import Any

import numpy as np
import torch

from ..utils.errors import ConfigError
from . import preflight
from .arguments import check_arguments
from .candidate_training import digest_of, train_all
from .plan import Plan, Run
from .plan_costs import check_equal, cost_of
from .plan_records import (
    Record,
    config_digest,
    is_current,
    one_writer,
    read_records,
    record_of,
    write_records,
)
from .provenance import device_name
from .robustness import RobustnessHook
from .step_times import time_steps

TRAINING = ("train_dataloader", "train_cfg", "val_dataloader", "val_evaluator")


class PlanRunner:
    """The trainings of a plan, those that are done and those that are not.

    Args:
        plan (Plan): The plan.
        json_path (Path): The file of its results. Runs that it holds, of the same
            configs, are not repeated.

    Attributes:
        runs: Name → training.
        configs: Name → whole config.
        costs: Name of a network → what it costs, once `check` has measured it.
        records: Name → what is known of a training that is done, or failed.
        others: How many results the file has of other configs or trainings, or without
            the plan's metric. They are left out when it is written, and a copy is
            kept.
        timing: Times of training steps of these very networks, or None.

    Raises:
        ConfigError: A config cannot be read, or the file holds other things.
    """

    def __init__(self, plan: Plan, json_path: Path):
        self.plan = plan
        self.json_path = json_path
        self.runs = {run.name: run for run in plan.runs()}
        self.configs = plan.whole_configs()
        self._digests = {name: config_digest(c) for name, c in self.configs.items()}
        first = {run.group: self._digests[run.name] for run in self.networks()}
        self._timed = digest_of(f"{plan.reference} {first}")
        self.records: dict[str, Record] = {}
        self.timing: dict[str, Any] | None = None
        self._read()
        self.costs: dict[str, dict[str, Any]] = {}
        self._has_written = False

    @property
    def missing(self) -> list[str]:
        """The names of the trainings that are not done."""
        done = {name for name, record in self.records.items() if not record["problem"]}
        return [name for name in self.runs if name not in done]

    def networks(self, names: Iterable[str] | None = None) -> Iterator[Run]:
        """The first training of each network.

        Args:
            names (Iterable[str] | None): Of these trainings. Default: all.
        """
        seen = set()
        for name in self.runs if names is None else names:
            run = self.runs[name]
            if run.group not in seen:
                seen.add(run.group)
                yield run

    def check(self) -> None:
        """Check that what is missing can be trained, and measure every network's cost.

        Raises:
            ConfigError: A section, an argument or the data are not there, a network or
                a hook cannot be built, or networks that should be equal are not.
        """
        self._check_trainings(self.networks(self.missing))
        for run in self.networks():
            if run.group not in self.costs:
                try:
                    self.costs[run.group] = cost_of(self.configs[run.name])
                except ConfigError as error:
                    raise ConfigError(f"{run.group}: {error}") from error
        check_equal(self.plan, self.costs)

    def train(
        self,
        folder: Path,
        script: Path,
        jobs: int = 1,
        report: Callable[[str], None] = print,
    ) -> None:
        """Train what is missing; the file of results grows as trainings end.

        Args:
            folder (Path): The folder for the trainings.
            script (Path): The path of `tools/train.py`.
            jobs (int): How many run at once. Default: 1.
            report (Callable[[str], None]): Gets a line for each that ends, with the
                time that is left. Default: print.

        Raises:
            ConfigError: As in `check`; or the folder holds other trainings or is in
                use; or a training logs no such metric, but others.
            Interrupted: A signal came. The next call goes on.
        """
        self.check()
        configs = {name: self.configs[name] for name in self.missing}
        waiting = dict.fromkeys(configs)
        metric = self.plan.metric
        for name, trained in train_all(configs, folder, script, metric, jobs):
            run = self.runs[name]
            digest, cost = self._digests[name], self.costs[run.group]
            self.add(record_of(run, digest, cost, trained))
            del waiting[name]
            left = self._seconds_left(waiting, jobs)
            said = trained.problem or f"{metric} {trained.last:.4g}"
            ended = len(self.runs) - len(waiting)
            about = f"about {_clock(left)} left" if left is not None else "time left?"
            report(
                f"[{ended}/{len(self.runs)}] {name}: {said} "
                f"({_clock(trained.seconds)}; {about})"
            )

    def time(self, rounds: int) -> None:
        """Time training steps of every network, and write them beside the results.

        Args:
            rounds (int): As in `time_steps`.

        Raises:
            ConfigError: A section, an argument or the data are not there.
        """
        networks = list(self.networks())
        self._check_trainings(networks)
        configs = {run.group: self.configs[run.name] for run in networks}
        seconds = time_steps(configs, rounds)
        references = {run.group: self.plan.reference_of(run) for run in networks}
        timing = dict(
            digest=self._timed,
            device=device_name(),
            threads=torch.get_num_threads(),
            rounds=rounds,
            batch_size=next(iter(configs.values())).train_dataloader.batch_size,
            steps={
                name: dict(seconds=value, ratio=value / seconds[references[name]])
                for name, value in seconds.items()
                if references[name]
            },
        )
        with self._update():
            self.timing = timing

    def add(self, record: Record) -> None:
        """Add a record to the file, beside those that others have added meanwhile.

        Args:
            record (Record): That of one of the plan's trainings.

        Raises:
            ConfigError: The file holds other things by now, as of another plan that
                runs, or cannot be written.
        """
        with self._update():
            self.records[record["name"]] = record

    @contextmanager
    def _update(self) -> Iterator[None]:
        with one_writer(self.json_path):
            self._read()
            if self._has_written and self.others:
                raise ConfigError(
                    f"--json {self.json_path}: another plan, or this one with other "
                    "options, has written it meanwhile; a file for each is accepted"
                )
            yield
            self._write()
            self._has_written = True

    def _check_trainings(self, runs: Iterable[Run]) -> None:
        for run in runs:
            cfg = self.configs[run.name]
            for section in TRAINING:
                if cfg.get(section) is None:
                    raise ConfigError(f"config {run.file}: there is no {section}")
            check_arguments(cfg, ("train", "val"))
            hooks = preflight.build_hooks(cfg)
            measures = any(isinstance(hook, RobustnessHook) for hook in hooks)
            used = ("train", "val", "test") if measures else ("train", "val")
            preflight.check_data_paths(cfg, used)

    def _read(self) -> None:
        """Take what the file has by now, and count the results that are others'."""
        results = read_records(self.json_path)
        timing = results.get("timing", {})
        if timing.get("digest") == self._timed:
            self.timing = timing
        self._other_times = bool(timing) and self.timing is not timing
        found = {record["name"]: record for record in results.get("runs", ())}
        own = {
            name: found[name]
            for name, digest in self._digests.items()
            if is_current(found.get(name), digest, self.plan.metric)
        }
        self.records |= own
        self.others = len(found) - len(own)

    def _write(self) -> None:
        """Write what is known, with the costs as they are counted now.

        A file with results of others, or times of other steps, is kept beside it.
        """
        if self.json_path.exists() and (self.others or self._other_times):
            copyfile(self.json_path, unused(self.json_path))
            self.others, self._other_times = 0, False
        for name, record in self.records.items():
            if cost := self.costs.get(self.runs[name].group):
                record["cost"] = dict(cost)
        write_records(self.json_path, self.plan, self.records, self.timing)

    def _seconds_left(self, waiting: Iterable[str], jobs: int) -> float | None:
        took: dict[str, list[float]] = {}
        for name, record in self.records.items():
            if not record["problem"]:
                took.setdefault(self.runs[name].group, []).append(record["seconds"])
        flops = {group: cost["flops"] for group, cost in self.costs.items()}
        groups = [self.runs[name].group for name in waiting]
        return seconds_left(took, flops, groups, jobs)


def unused(path: Path) -> Path:
    """The first of FILE.old, FILE.old1, … that there is not.

    Args:
        path (Path): The file.
    """
    names = (f"{path.name}.old{number or ''}" for number in count())
    return next(p for p in map(path.with_name, names) if not p.exists())


def seconds_left(
    took: Mapping[str, Sequence[float]],
    flops: Mapping[str, float],
    waiting: Sequence[str],
    jobs: int,
) -> float | None:
    """Estimate how long trainings take: as long as those of the same network did.

    Those of other networks are estimated by a line over the FLOPs.

    Args:
        took (Mapping[str, Sequence[float]]): Network → the seconds that its trainings
            took.
        flops (Mapping[str, float]): Network → its FLOPs.
        waiting (Sequence[str]): The network of each training that is left.
        jobs (int): How many run at once.

    Returns:
        Seconds; None while no training has ended well.

    Example:
        >>> flops = dict(small=1e6, large=3e6, huge=5e6)
        >>> took = dict(small=[10, 12], large=[31])
        >>> round(seconds_left(took, flops, ['huge', 'small'], 1))  # 51 + 11
        62
        >>> round(seconds_left(took, flops, ['huge', 'small'], 2))
        51
    """
    known = {group: mean(seconds) for group, seconds in took.items()}
    if not known:
        return None
    slope, start = 0.0, mean(known.values())
    if len({flops[group] for group in known}) > 1:
        line = np.polyfit([flops[g] for g in known], list(known.values()), 1)
        if min(line) >= 0:
            slope, start = line
    each = [known.get(group, start + slope * flops[group]) for group in waiting]
    return float(max(sum(each) / jobs, max(each, default=0)))


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
