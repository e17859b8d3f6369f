"""A config as the text of a Python file."""

from inspect import isclass, isroutine
from typing import Any

from mmengine.config import Config


def config_text(cfg: Config) -> str:
    """A config as a Python file, which MMEngine can read again.

    Classes and functions are in it by their full names, which MMEngine's registries
    look up as types.

    Example:
        >>> from torch.nn import ReLU
        >>> print(config_text(Config(dict(layer=dict(type=ReLU)))), end='')
        layer = dict(type='torch.nn.modules.activation.ReLU')
    """
    return Config(_named(cfg.to_dict())).pretty_text


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_named(item) for item in value)
    if isclass(value) or isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    return value
