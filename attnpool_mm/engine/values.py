"""Numbers of a config that PyTorch would take, or refuse with a traceback."""

from collections.abc import Callable, Iterator
from typing import Any

from mmengine.config import Config

from ..utils.checks import is_finite, is_int
from ..utils.errors import ConfigError

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
# Of an optimizer: what is accepted, besides that it is a number
RATES: dict[str, tuple[Callable[[float], bool], str]] = {
    "lr": (lambda x: x > 0, "a positive number"),
    "weight_decay": (lambda x: x >= 0, "a number of at least 0"),
    "momentum": (lambda x: x >= 0, "a number of at least 0"),
    "max_norm": (lambda x: x > 0, "a positive number"),
}


# What a loop needs, by the name of its loader
LOOPS = {
    "train": ("train_dataloader", "train_cfg", "optim_wrapper"),
    "val": ("val_dataloader", "val_cfg", "val_evaluator"),
    "test": ("test_dataloader", "test_cfg", "test_evaluator"),
}


def check_parts(cfg: Config, needed: str) -> None:
    """Check that a config has a model, and what the loops need.

    Args:
        cfg (Config): The whole config.
        needed (str): `train` or `test`: the loop that runs. The others may be absent
            whole.

    Raises:
        ConfigError: Something is missing, or is no dict; names the config's file.

    Example:
        >>> try:
        ...     check_parts(Config(dict(default_scope='mmpretrain')), 'train')
        ... except ConfigError as error:
        ...     print(error)
        it has no model; a dict with a type is accepted
    """
    where = f"config {cfg.filename}: " if cfg.filename else ""
    model = cfg.get("model")
    if model is None:
        raise ConfigError(f"{where}it has no model; a dict with a type is accepted")
    if not isinstance(model, dict) or not model.get("type"):
        raise ConfigError(f"{where}model={model!r}: a dict with a type is accepted")
    for loop, names in LOOPS.items():
        absent = [name for name in names if cfg.get(name) is None]
        if absent and (loop == needed or len(absent) < len(names)):
            raise ConfigError(
                f"{where}it has no {absent[0]}; {', '.join(names)} are needed together"
                f"{'' if loop == needed else ', or all of them None'}"
            )
    for loop in LOOPS:
        loader = cfg.get(f"{loop}_dataloader") or {}
        if not isinstance(loader, dict) or not loader.get("dataset", True):
            name = f"{loop}_dataloader"
            raise ConfigError(f"{where}{name}: a dict with a dataset is accepted")


def check_values(cfg: Config) -> None:
    """Check lengths, rates, batch sizes and the images' normalisation.

    Raises:
        ConfigError: One is not what it can be, naming its key and what is accepted.

    Example:
        >>> try:
        ...     check_values(Config(dict(train_cfg=dict(max_epochs=0))))
        ... except ConfigError as error:
        ...     print(error)
        train_cfg.max_epochs=0: an integer of at least 1 is accepted
    """
    train_cfg = cfg.get("train_cfg") or {}
    for name in ("max_epochs", "max_iters", "val_interval"):
        value = train_cfg.get(name)
        if isinstance(value, float) and value.is_integer():  # which MMEngine takes
            value = int(value)
        _check_int(f"train_cfg.{name}", value)
    for name in LOADERS:
        loader = cfg.get(name) or {}
        if not isinstance(loader, dict):
            continue
        _check_int(f"{name}.batch_size", loader.get("batch_size"))
        _check_int(f"{name}.num_workers", loader.get("num_workers"), minimum=0)
        sized = {"batch_size", "batch_sampler"}
        if loader and all(loader.get(key) is None for key in sized):
            raise ConfigError(f"{name}.batch_size: an integer of at least 1 is needed")
    wrapper = cfg.get("optim_wrapper") or {}
    for key, value in _numbers(wrapper, "optim_wrapper"):
        accepts, accepted = RATES[key.rpartition(".")[2]]
        if not is_finite(value) or not accepts(value):
            raise ConfigError(f"{key}={value!r}: {accepted} is accepted")
    key = "optim_wrapper.accumulative_counts"
    _check_int(key, wrapper.get("accumulative_counts"))
    _check_normalisation("data_preprocessor", cfg.get("data_preprocessor"))
    model = cfg.get("model") or {}
    _check_normalisation("model.data_preprocessor", model.get("data_preprocessor"))


def _check_int(key: str, value: Any, minimum: int = 1) -> None:
    if value is not None and (not is_int(value) or value < minimum):
        raise ConfigError(
            f"{key}={value!r}: an integer of at least {minimum} is accepted"
        )


def _numbers(part: Any, key: str) -> Iterator[tuple[str, Any]]:
    """The rates in the dicts of an optimizer wrapper, and their keys."""
    for name, value in part.items() if isinstance(part, dict) else ():
        if name in RATES and value is not None:
            yield f"{key}.{name}", value
        elif name != "paramwise_cfg":
            yield from _numbers(value, f"{key}.{name}")


def _check_normalisation(key: str, preprocessor: Any) -> None:
    for name in ("mean", "std"):
        values = (preprocessor or {}).get(name)
        if values is None:
            continue
        values = values if isinstance(values, list | tuple) else [values]
        for value in values:
            positive = name == "mean" or (is_finite(value) and value > 0)
            if not is_finite(value) or not positive:
                kind = "numbers" if name == "mean" else "positive numbers"
                raise ConfigError(
                    f"{key}.{name}={preprocessor[name]!r}: {kind} are accepted, one a "
                    "channel"
                )
