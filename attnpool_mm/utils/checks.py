"""Argument checks that pools and backbones share."""

import inspect
from collections.abc import Callable, Collection
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


def argument_names(kind: Callable) -> list[str]:
    """The names of the arguments that `kind` takes.

    Where a class hands `**kwargs` on, those of its parents too.
    """
    return _arguments(kind)[0]


def _arguments(kind: Callable) -> tuple[list[str], bool]:
    """The names, and whether any others are taken."""
    makers = [kind]
    if inspect.isclass(kind):
        makers = [vars(c)["__init__"] for c in kind.__mro__ if "__init__" in vars(c)]
    names: dict[str, None] = {}
    for maker in makers:
        parameters = inspect.signature(maker).parameters.values()
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD,
                                                     p.KEYWORD_ONLY)]  # fmt: skip
        names |= dict.fromkeys(p.name for p in named if p.name != "self")
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return list(names), False
    return list(names), True


def check_known_arguments(kind: Callable, given: Collection[str]) -> None:
    """Check that `kind` takes the arguments `given`.

    Raises:
        ConfigError: It does not take one of them.
    """
    names, any_other = _arguments(kind)
    unknown = set(given) - set(names)
    if unknown and not any_other:
        raise ConfigError(
            f"{kind.__name__} has no argument {', '.join(sorted(unknown))}: accepted "
            f"are {', '.join(names)} (in a config that inherits, _delete_=True drops "
            "what the base config gives)"
        )


def check_needed_arguments(kind: Callable, given: Collection[str]) -> None:
    """Check that `kind` needs no more arguments than `given`.

    Raises:
        ConfigError: It needs another.
    """
    needed = {
        p.name
        for p in inspect.signature(kind).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    }
    missing = needed - set(given)
    if missing:
        names = ", ".join(sorted(missing))
        raise ConfigError(f"{kind.__name__}: {names} must be given")
