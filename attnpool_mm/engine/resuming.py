"""Whether a checkpoint holds a training that this one can go on with."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor
from torch.optim import Adam, Optimizer

from ..utils.errors import ConfigError

# Of every optimizer that has them, in the shape of the parameter
LIKE_PARAMETERS = (
    *("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    *("square_avg", "grad_avg", "acc_delta", "sum", "prev"),
)
ADAM = {"step", "exp_avg", "exp_avg_sq"}
NEEDED = {"meta", "message_hub", "state_dict"}
# What a schedule changes as it goes; the rest is how it was set
RUNNING = {
    *("last_step", "_global_step", "_last_value", "verbose"),
    *("best", "num_bad_epochs", "cooldown_counter"),
}


def check_training(checkpoint: dict, name: str, optimizer: bool = True) -> None:
    """Check that a checkpoint holds a training, and says how far it is.

    Args:
        checkpoint (dict): What the file holds.
        name (str): What errors call it.
        optimizer (bool): Whether an optimizer must be in it, which a training without
            `save_optimizer` does not write. Default: True.

    Raises:
        ConfigError: It has no message hub, epoch or iteration, or an optimizer without
            a state.
    """
    needed = NEEDED | {"optimizer"} if optimizer else NEEDED
    missing = needed - checkpoint.keys()
    if missing:
        raise ConfigError(
            f"{name}: it has no {', '.join(sorted(missing))}; it is no training to go "
            "on with (load_from takes its weights alone)"
        )
    meta = checkpoint["meta"]
    for key in ("epoch", "iter"):
        value = meta.get(key)
        if type(value) is not int or value < 0:
            raise ConfigError(
                f"{name}: meta.{key}={value!r:.50}, the number of the {key} is expected"
            )
    seed = meta.get("seed")
    if seed is not None and not (type(seed) is int and 0 <= seed < 2**32):
        raise ConfigError(
            f"{name}: meta.seed={seed!r:.50}, an integer of 32 bits is expected"
        )
    if checkpoint.get("optimizer", True) in ({}, None):
        raise ConfigError(f"{name}: optimizer is empty, its state is expected")


def check_training_state(runner: Runner, checkpoint: dict, name: str) -> None:
    """Check that a run's optimizer and schedulers take the state of a checkpoint.

    Args:
        runner (Runner): The run, whose optimizer and schedulers are built.
        checkpoint (dict): What the file holds.
        name (str): What errors call it.

    Raises:
        ConfigError: They do not, or the schedules or learning rates are set otherwise:
            MMEngine would go on with the checkpoint's without a word.
    """
    name = f"--resume {name}"
    check_training(checkpoint, name, optimizer=False)
    train_cfg = runner.cfg.get("train_cfg") or {}
    steps, last = checkpoint["meta"]["iter"], train_cfg.get("max_iters")
    if last is not None and steps > last:  # MMEngine reads the data up to there
        raise ConfigError(
            f"{name}: meta.iter={steps}, at most max_iters={last} is expected"
        )
    wrapper = getattr(runner, "optim_wrapper", None)
    if isinstance(wrapper, OptimWrapper) and "optimizer" in checkpoint:
        state = checkpoint["optimizer"]
        several = isinstance(wrapper, OptimWrapperDict)
        for key, inner in wrapper.items() if several else [(None, wrapper)]:
            _check_optimizer(inner, state.get(key) if several else state, name)
    states = checkpoint.get("param_schedulers", [])
    schedulers = getattr(runner, "param_schedulers", None) or []
    if isinstance(schedulers, dict):
        _expect(states, dict, f"{name}: param_schedulers")
        pairs = [(schedulers[key], states.get(key)) for key in schedulers]
    else:
        pairs = [(schedulers, states)]
    for ours, theirs in pairs:
        _expect(theirs, list, f"{name}: param_schedulers")
        if "param_schedulers" in checkpoint and len(theirs) != len(ours):
            raise ConfigError(
                f"{name}: it has {len(theirs)} param_schedulers, and this training "
                f"{len(ours)}; as many are expected"
            )
        for i, (scheduler, state) in enumerate(zip(ours, theirs, strict=False)):
            if hasattr(scheduler, "state_dict"):
                _check_scheduler(scheduler.state_dict(), state, name)
                _check_settings(scheduler.state_dict(), state, f"{name}: schedule {i}")


def _check_optimizer(wrapper: OptimWrapper, state: dict, name: str) -> None:
    _expect(state, dict, f"{name}: optimizer")
    optimizer = wrapper.optimizer
    rates = [_base_rate(group) for group in optimizer.param_groups]
    try:
        wrapper.load_state_dict(dict(state))
    except Exception as error:  # PyTorch checks little, and fails with any type
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ConfigError(f"{name}: optimizer does not fit: {reason}") from error
    for group in optimizer.param_groups:
        for key, value in optimizer.defaults.items():
            if not _alike(group.get(key), value):
                raise ConfigError(
                    f"{name}: optimizer.param_groups has {key}={group.get(key)!r:.50}, "
                    f"something like {value!r:.50} is expected"
                )
    loaded = [_base_rate(group) for group in optimizer.param_groups]
    if not _equal(rates, loaded):
        raise ConfigError(
            f"{name}: its optimizer has the learning rates {loaded!r:.80}, and this "
            f"training {rates!r:.80}, which a resumed one would not get; the same are "
            "expected"
        )
    for parameter, entries in optimizer.state.items():
        if isinstance(parameter, Tensor):
            _check_state(optimizer, parameter, entries, name)


def _base_rate(group: dict) -> Any:
    """The learning rate of a group before any schedule."""
    return group.get("initial_lr", group.get("lr"))


def _check_state(
    optimizer: Optimizer, parameter: Tensor, entries: Any, name: str
) -> None:
    _expect(entries, dict, f"{name}: optimizer.state")
    if isinstance(optimizer, Adam) and entries and not entries.keys() >= ADAM:
        raise ConfigError(
            f"{name}: optimizer.state has {', '.join(map(str, entries)):.80}, Adam's "
            f"{', '.join(sorted(ADAM))} are expected"
        )
    for key in LIKE_PARAMETERS:
        value = entries.get(key)
        if value is None:
            continue
        if not isinstance(value, Tensor) or value.shape != parameter.shape:
            what = tuple(value.shape) if isinstance(value, Tensor) else value
            raise ConfigError(
                f"{name}: optimizer.state has a {key} of {what!r:.50}, the shape of "
                f"its parameter, {tuple(parameter.shape)}, is expected"
            )


def _check_scheduler(ours: dict, theirs: Any, name: str) -> None:
    """Hold a scheduler's state to its own; its attributes take whatever it has."""
    _expect(theirs, dict, f"{name}: param_schedulers")
    for key, value in theirs.items():
        if key not in ours or not _alike(value, ours[key]):
            raise ConfigError(
                f"{name}: param_schedulers has {key!r:.30}={value!r:.50}; expected are "
                f"{', '.join(ours):.200}, each of its type"
            )


def _check_settings(ours: dict, theirs: dict, name: str) -> None:
    """Check that a schedule is set as the checkpoint's was.

    Its `end`, which is that of the training where a config says none, becomes ours
    unless it is past: a training may go on for longer. Where a schedule makes its
    values of its length, another setting says that it has changed.
    """
    end, done = theirs.get("end"), theirs.get("_global_step")
    if end is not None and done is not None and done <= end:
        theirs["end"] = ours["end"]
        if done == end < ours["end"]:  # MMEngine has not counted the step at the end
            theirs["last_step"] = theirs.get("last_step", ours["last_step"]) + 1
    for key in theirs:
        if key not in RUNNING and not _equal(theirs[key], ours[key]):
            raise ConfigError(
                f"{name} has {key}={theirs[key]!r:.50}, and this training "
                f"{ours[key]!r:.50}, which a resumed one would not get; the same "
                "schedule and learning rate, and batch_size times processes as before, "
                "are expected (load_from starts a new training from the weights)"
            )


def _equal(a: Any, b: Any) -> bool:
    """Whether two settings are equal, numbers but for rounding."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    numbers = (int, float, np.number)
    if isinstance(a, numbers) and isinstance(b, numbers):
        return math.isclose(a, b, rel_tol=1e-6)
    return a == b


def _alike(value: Any, pattern: Any) -> bool:
    """Whether a value is of another's kind: a number, a list as long, the same type."""
    if pattern is None or isinstance(pattern, bool):
        return value is None or isinstance(value, bool | int | float | np.number)
    if isinstance(pattern, int | float | np.number | Tensor):
        if isinstance(value, Tensor):
            return value.numel() == 1
        return isinstance(value, int | float | np.number) and not isinstance(
            value, bool
        )
    if isinstance(pattern, list | tuple) and not isinstance(value, str):
        return (
            isinstance(value, Iterable)
            and len(value) == len(pattern)
            and all(map(_alike, value, pattern))
        )
    return isinstance(value, type(pattern))


def _expect(value: Any, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        raise ConfigError(
            f"{what} is a {type(value).__name__}, a {kind.__name__} is expected"
        )
