"""Argument checks that pools and backbones share."""

from typing import Any

from .errors import ConfigError


def check_positive_int(name: str, value: Any) -> int:
    """Return `value` if it is an integer of at least 1.

    Raises:
        ConfigError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}={value!r}: a positive integer is accepted")
    return value


def check_choice(name: str, value: Any, choices: tuple) -> Any:
    """Return `value` if it is one of `choices`.

    Raises:
        ConfigError: It is not.
    """
    if value not in choices:
        accepted = ", ".join(repr(choice) for choice in choices)
        raise ConfigError(f"{name}={value!r}: accepted are {accepted}")
    return value
