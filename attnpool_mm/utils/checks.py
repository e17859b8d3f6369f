"""Argument checks that pools and backbones share."""

import inspect
import math
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

from .errors import ConfigError
from .signatures import arguments, unknown_arguments

MANY = 40  # names, too many for a message


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


def check_number(
    name: str,
    value: Any,
    minimum: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """Return `value` if it is a finite number between the bounds that are given.

    Args:
        name (str): Of the argument, for the message.
        value (Any): Its value.
        minimum (float | None): It is this or more. Default: no such bound.
        above (float | None): It is more than this. Default: no such bound.
        below (float | None): It is less than this. Default: no such bound.

    Raises:
        ConfigError: It is no number, a boolean, infinite, NaN or out of bounds.

    Example:
        >>> check_number('ratio', 0.5, above=0, below=1)
        0.5
    """
    if (
        not is_finite(value)
        or (minimum is not None and value < minimum)
        or (above is not None and value <= above)
        or (below is not None and value >= below)
    ):
        bounds = {"of at least": minimum, "above": above, "below": below}
        words = [f"{word} {x}" for word, x in bounds.items() if x is not None]
        accepted = " ".join(["a finite number", " and ".join(words)]).rstrip()
        raise ConfigError(f"{name}={value!r}: {accepted} is accepted")
    return value


def is_finite(value: Any) -> bool:
    """Whether `value` is a finite number, NumPy's included and booleans not."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    return number and -math.inf < value < math.inf


def check_odd(name: str, value: Any) -> int:
    """Return `value` if it is an odd positive integer, as a kernel with a centre.

    Raises:
        ConfigError: It is not.
    """
    if not is_int(value) or value < 1 or value % 2 == 0:
        raise ConfigError(f"{name}={value!r}: an odd integer of at least 1 is accepted")
    return value


def check_shape(shape: Any, sides: int | None = None) -> tuple[int, ...]:
    """Return `shape` as a tuple if it is the shape of an input without the batch.

    Args:
        shape (Any): Positive integers, (C, H, W) for an image.
        sides (int | None): How many there must be. Default: any number.

    Raises:
        ConfigError: It is something else.
    """
    accepted = isinstance(shape, list | tuple) and len(shape) == (sides or len(shape))
    if not accepted or not shape:
        raise ConfigError(f"shape={shape!r}: channels, height and width are accepted")
    return tuple(check_int("each of shape", side) for side in shape)


def check_bool(name: str, value: Any) -> bool:
    """Return `value` if it is True or False; the word 'no' would be taken for true.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{name}={value!r}: True or False is accepted")
    return value


def check_choice(name: str, value: Any, choices: tuple) -> Any:
    """Return `value` if it is one of `choices`, and of its type.

    True is not taken for 1, nor 18.0 for 18; NumPy's numbers are taken for Python's.

    Raises:
        ConfigError: It is not.

    Example:
        >>> check_choice('depth', 18, (18, 34))
        18
    """
    if not any(_kind(value) is _kind(choice) and value == choice for choice in choices):
        accepted = ", ".join(repr(choice) for choice in choices)
        raise ConfigError(f"{name}={value!r}: accepted are {accepted}")
    return value


def _kind(value: Any) -> type:
    kinds = (bool, Integral, Real, str)
    return next((kind for kind in kinds if isinstance(value, kind)), type(value))


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint at the one of `names` that was meant, or at what there is.

    Example:
        >>> nearest('load_form', ['load_from', 'resume'])
        "did you mean 'load_from'?"
    """
    if isinstance(names, set):  # which has no order of its own
        names = sorted(names)
    names = {known.lower(): known for known in names}
    close = get_close_matches(name.lower(), names, n=1)
    if close:
        return f"did you mean {names[close[0]]!r}?"
    if len(names) > MANY:
        return f"none of {len(names)} names is close to it"
    return f"accepted are {', '.join(names.values()) or 'none'}"


def argument_names(kind: Callable) -> list[str]:
    """The names of the arguments that `kind` takes.

    Where a class hands `**kwargs` on, those of its parents too.
    """
    return list(arguments(kind))


def check_known_arguments(kind: Callable, given: Collection[str]) -> None:
    """Check that `kind` takes the arguments `given`.

    Raises:
        ConfigError: It does not take one of them.
    """
    unknown = unknown_arguments(kind, given)
    if unknown:
        raise ConfigError(
            f"{kind.__name__} has no argument {unknown[0]}: "
            f"{nearest(unknown[0], argument_names(kind))} (in a config that inherits, "
            "_delete_=True drops what the base config gives)"
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
