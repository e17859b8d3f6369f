"""Plans: which trainings a comparison is made of."""

import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..utils.checks import is_finite, is_int
from ..utils.config import type_name
from ..utils.config_errors import config_error
from ..utils.errors import ConfigError
from ..utils.safe_yaml import use_safe_yaml
from . import launch

NETWORK = "network"
SEEDS = 2**32  # NumPy's are below
Options = dict[str, Any]
Levels = dict[str, str]


@dataclass(frozen=True)
class Run:
    """One training of a plan.

    Attributes:
        name: For files, such as 'resnet-14_standard_average_seed0'.
        levels: Axis → level.
        seed: Seed of its random numbers.
        file: The config that it starts from.
        options: What is changed in it, one after the other: dotted key → value.
    """

    name: str
    levels: Levels
    seed: int
    file: Path
    options: list[Options]

    @property
    def group(self) -> str:
        """The name without the seed: of the network that is trained."""
        return self.name.rpartition("_seed")[0]


@dataclass
class Plan:
    """A comparison: every combination of levels, with every seed.

    Attributes:
        path: The plan's file.
        metric: What is compared, such as 'accuracy/top1'.
        configs: Level of the axis 'network' → config file.
        axes: Axis → level → options.
        options: Options of every training.
        seeds: The seeds.
        reference: Axis → the level that the others are compared with.
        exclude: Combinations that are left out: axis → level, not all axes.
        equal: None, or the cost that all networks share: `cost`, one of
            'peak_unfused', 'peak_fused', 'flops' and 'parameters', and `within`, the
            largest relative deviation from the reference network.
    """

    path: Path
    metric: str
    configs: dict[str, Path]
    axes: dict[str, dict[str, Options]]
    options: Options = field(default_factory=dict)
    seeds: Sequence[int] = (0,)
    reference: Levels = field(default_factory=dict)
    exclude: Sequence[Levels] = ()
    equal: dict[str, Any] | None = None

    @property
    def levels(self) -> dict[str, list[str]]:
        """Axis → its levels, that of the networks first."""
        return {NETWORK: list(self.configs)} | {
            axis: list(levels) for axis, levels in self.axes.items()
        }

    def runs(self) -> list[Run]:
        """All trainings: with the first seed, then with the next."""
        axes = self.levels
        combinations = [
            dict(zip(axes, values, strict=True)) for values in product(*axes.values())
        ]
        return [
            self._run(levels, seed)
            for seed in self.seeds
            for levels in combinations
            if not self._is_excluded(levels)
        ]

    def whole_configs(self) -> dict[str, Config]:
        """The whole config of each training, by its name.

        Trainings that count epochs get an `EpochSeedHook`: stopped and resumed, they
        end with the weights that they would have had.

        Raises:
            ConfigError: A file cannot be read, or an option does not fit it.
        """
        bases = {file: launch.read_config(str(file)) for file in self.configs.values()}
        configs = {}
        for run in self.runs():
            configs[run.name] = cfg = deepcopy(bases[run.file])
            for options in run.options:
                try:
                    launch.merge_options(cfg, deepcopy(options))
                except ConfigError as error:
                    raise ConfigError(f"{run.group}: {error}") from error
            _seed_epochs(cfg)
        return configs

    def reference_of(self, run: Run) -> str | None:
        """The network that a training's is compared with, if the plan has it."""
        levels = {**run.levels, **self.reference}
        return None if self._is_excluded(levels) else _group(levels)

    def _run(self, levels: Levels, seed: int) -> Run:
        by_axis = [of_level[levels[axis]] for axis, of_level in self.axes.items()]
        options = [self.options, *by_axis, {"randomness.seed": seed}]
        file = self.configs[levels[NETWORK]]
        name = f"{_group(levels)}_seed{seed}"
        return Run(name, levels, seed, file, list(filter(None, options)))

    def _is_excluded(self, levels: Levels) -> bool:
        return any(part.items() <= levels.items() for part in self.exclude)


def slug(text: str) -> str:
    """A level's name as a part of a file's.

    Example:
        >>> slug('NLP, patch 2')
        'nlp-patch-2'
    """
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def _seed_epochs(cfg: Config) -> None:
    hooks = list(cfg.get("custom_hooks") or [])
    seeded = any(type_name(hook) == "EpochSeedHook" for hook in hooks)
    if not seeded and "max_epochs" in (cfg.get("train_cfg") or {}):
        cfg.custom_hooks = [*hooks, dict(type="attnpool_mm.EpochSeedHook")]


def _group(levels: Levels) -> str:
    return "_".join(map(slug, levels.values()))


def read_plan(path: str) -> Plan:
    """Read a plan: an MMEngine config with the names of `Plan`'s attributes.

    `configs` are paths relative to the plan, `seeds` is their number or a list.
    `configs`, `axes` and `metric` are needed. Names that start with `_`, and functions,
    are the file's own.

    Raises:
        ConfigError: The file cannot be read, or says something that is not accepted.
    """
    use_safe_yaml()
    try:
        given = Config.fromfile(path).to_dict()
    except Exception as error:  # whatever the code in the file raises
        raise config_error(path, error) from error
    try:
        return _checked(Path(path), given)
    except ConfigError as error:
        raise ConfigError(f"plan {path}: {error}") from error


def _checked(path: Path, given: dict[str, Any]) -> Plan:
    given = {name: value for name, value in given.items() if name[0] != "_"}
    known = [name for name in Plan.__dataclass_fields__ if name != "path"]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError(f"{unknown[0]} is not known: {', '.join(known)} are")
    for name in ("configs", "axes", "metric"):
        if not given.get(name):
            raise ConfigError(f"there is no {name}")
    for name in ("configs", "axes", "options", "reference"):
        if not isinstance(given.get(name, {}), dict):
            raise ConfigError(f"{name}={given[name]!r}: a dict is accepted")
        _check_names(name, given.get(name, {}))
    if not isinstance(given["metric"], str):
        raise ConfigError(f"metric={given['metric']!r}: a name is accepted")
    given["configs"] = {
        level: _config_file(path, level, file)
        for level, file in given["configs"].items()
    }
    _check_axes(given["axes"])
    given["seeds"] = _seeds(given.get("seeds", 1))
    left_out = given.get("exclude", [])
    if not isinstance(left_out, list | tuple):
        raise ConfigError(f"exclude={left_out!r}: a list of dicts is accepted")
    given["exclude"] = [part for entry in left_out for part in _parts(entry)]
    plan = Plan(path, **given)
    _check_levels("reference", plan.reference, plan.levels)
    for part in plan.exclude:
        _check_levels("exclude", part, plan.levels)
    _check_equal(plan)
    runs = plan.runs()
    names = [run.name for run in runs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ConfigError(f"two runs would be named {twice}: other levels' names")
    if not names:
        raise ConfigError("exclude leaves out every combination")
    if not any(plan.reference.items() <= run.levels.items() for run in runs):
        raise ConfigError(f"reference={plan.reference}: exclude leaves out all of it")
    return plan


def _config_file(plan: Path, level: str, file: Any) -> Path:
    found = plan.parent / str(file)
    if not isinstance(file, str) or not found.is_file():
        raise ConfigError(f"configs, {level}: there is no file {found}")
    if not slug(level):
        raise ConfigError(f"configs: {level!r}: one of a-z, 0-9 is needed")
    return found


def _check_names(what: str, given: dict) -> None:
    for name in given:
        if not isinstance(name, str):
            raise ConfigError(f"{what}: {name!r} is no name: a string is accepted")


def _check_axes(axes: dict[str, Any]) -> None:
    if NETWORK in axes:
        raise ConfigError(f"axes: {NETWORK} is the axis of configs")
    for axis, levels in axes.items():
        if not isinstance(levels, dict) or not levels:
            raise ConfigError(f"axes.{axis}={levels!r}: a dict of levels is accepted")
        _check_names(f"axes.{axis}", levels)
        for level, options in levels.items():
            if not isinstance(options, dict):
                raise ConfigError(
                    f"axes.{axis}, {level}: {options!r}; a dict of options is accepted"
                )
            _check_names(f"axes.{axis}, {level}", options)
            if not slug(level):
                raise ConfigError(f"axes.{axis}: {level!r}: one of a-z, 0-9 is needed")


def _seeds(seeds: Any) -> list[int]:
    if is_int(seeds) and seeds > 0:
        return list(range(seeds))
    listed = isinstance(seeds, list | tuple)
    if listed and seeds and all(is_int(s) and 0 <= s < SEEDS for s in seeds):
        return list(dict.fromkeys(seeds))
    raise ConfigError(
        f"seeds={seeds!r}: their number, or a list of integers from 0 to below 2**32, "
        "is accepted"
    )


def _parts(left_out: Any) -> list[Levels]:
    """What an entry of `exclude` stands for, with one level of each axis."""
    levels = [
        level if isinstance(level, list | tuple) else [level]
        for level in (left_out.values() if isinstance(left_out, dict) else ())
    ]
    if not levels or not all(levels):
        raise ConfigError(
            f"exclude: {left_out!r}: a dict axis=level, or axis=[levels], is accepted"
        )
    return [dict(zip(left_out, part, strict=True)) for part in product(*levels)]


def _check_levels(what: str, given: Levels, levels: dict[str, list[str]]) -> None:
    for axis, level in given.items():
        if axis not in levels:
            raise ConfigError(f"{what}: {axis} is no axis; {', '.join(levels)} are")
        if level not in levels[axis]:
            raise ConfigError(
                f"{what}.{axis}={level!r}: one of {', '.join(levels[axis])} is accepted"
            )


def _check_equal(plan: Plan) -> None:
    if plan.equal is None:
        return
    costs = ("parameters", "flops", "peak_fused", "peak_unfused")
    accepted = f"cost=one of {', '.join(costs)}, within=a part of 1"
    equal = plan.equal if isinstance(plan.equal, dict) else {}
    within = equal.get("within")
    if (
        set(equal) != {"cost", "within"}
        or equal["cost"] not in costs
        or not is_finite(within)
        or not 0 <= within < 1
    ):
        raise ConfigError(f"equal={plan.equal!r}: a dict with {accepted} is accepted")
    if not plan.reference:
        raise ConfigError("equal: reference says which network the others equal")
