"""Argument checks that pools and backbones share."""

from numbers import Integral
from typing import Any

from .errors import ConfigError


def check_int(name: str, value: Any, minimum: int = 1) -> int:
    """Return `value` if it is an integer of at least `minimum`.

    Raises:
        ConfigError: It is not.
    """
    if not is_int(value) or value < minimum:
        raise ConfigError(
            f"{name}={value!r}: an integer of at least {minimum} is accepted"
        )
    return value


def is_int(value: Any) -> bool:
    """Whether `value` is an integer, NumPy's included and booleans not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_odd(name: str, value: Any) -> int:
    """Return `value` if it is an odd positive integer, as a kernel with a centre.

    Raises:
        ConfigError: It is not.
    """
    if not is_int(value) or value < 1 or value % 2 == 0:
        raise ConfigError(f"{name}={value!r}: an odd integer of at least 1 is accepted")
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
