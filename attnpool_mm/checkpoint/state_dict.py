"""Finding the state dict in what a checkpoint file holds, and what does not fit."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..utils.errors import ConfigError

WRAPPERS = ("state_dict", "net", "model", "model_state_dict")


def is_state_dict(value: Any) -> bool:
    """Whether a value is a state dict: names and tensors, and nothing else.

    Args:
        value (Any): Anything.

    Example:
        >>> is_state_dict({'weight': torch.ones(1)}), is_state_dict({'epoch': 1})
        (True, False)
    """
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(entry, Tensor)
        for name, entry in value.items()
    )


def check_theirs(state_dict: Any) -> None:
    """Check that a state dict may be of another code than OpenMMLab's.

    Raises:
        ConfigError: It is none, or its names start as those of OpenMMLab's models do,
            and of what is converted already.
    """
    if not is_state_dict(state_dict):
        raise ConfigError("state_dict: a dict of names and tensors is accepted")
    ours = next((name for name in state_dict if name.startswith("backbone.")), None)
    if ours is not None:
        raise ConfigError(
            f"state_dict: {ours} is a name of this package's or of OpenMMLab's models, "
            "which need no conversion; the authors' names are accepted"
        )


def find_state_dict(checkpoint: Mapping[str, Any], path: str) -> Mapping[str, Tensor]:
    """The state dict in a checkpoint: itself, or under one of the usual keys.

    In a checkpoint of MMEngine's with averaged weights (EMA), these are the ones
    under `state_dict`.

    Args:
        checkpoint (Mapping[str, Any]): What the file holds.
        path (str): The file, for the error.

    Raises:
        ConfigError: There is none.

    Example:
        >>> list(find_state_dict({'model': {'w': torch.ones(1)}, 'epoch': 3}, 'a.pth'))
        ['w']
    """
    for candidate in (checkpoint, *(checkpoint.get(key) for key in WRAPPERS)):
        if candidate and is_state_dict(candidate):
            return candidate
    raise ConfigError(
        f"checkpoint {path}: it has no state dict; one is looked for in the file "
        f"itself and under {', '.join(WRAPPERS)}"
    )


def misfits(
    state_dict: Mapping[str, Tensor],
    found: Mapping[str, str],
    shapes: Mapping[str, Sequence[int]],
    optional: Collection[str] = (),
) -> str:
    """What of a state dict does not fit a network: how many, and the first by name.

    Args:
        state_dict (Mapping[str, Tensor]): The entries.
        found (Mapping[str, str]): The network's name of an entry → the name in
            `state_dict`.
        shapes (Mapping[str, Sequence[int]]): The network's names → their shapes.
        optional (Collection[str]): Names of the network that may be missing. Default:
            ().

    Returns:
        A line; empty if all fits.

    Example:
        >>> from torch import ones
        >>> misfits({'a': ones(2), 'b': ones(1)}, {'x': 'a'}, {'x': [3], 'y': [1]})
        '1 missing: y; 1 left over: b; 1 of another shape: a (2, not 3)'
    """
    missing = [name for name in shapes if name not in found and name not in optional]
    used = {theirs for ours, theirs in found.items() if ours in shapes}
    left_over = [name for name in state_dict if name not in used]
    other = [
        f"{theirs} ({_size(state_dict[theirs].shape)}, not {_size(shapes[ours])})"
        for ours, theirs in found.items()
        if ours in shapes and tuple(state_dict[theirs].shape) != tuple(shapes[ours])
    ]
    parts = {"missing": missing, "left over": left_over, "of another shape": other}
    return "; ".join(
        f"{len(names)} {what}: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
        for what, names in parts.items()
        if names
    )


def classifier_shapes(
    state_dict: Mapping[str, Tensor], entries: Iterable[str], channels: int
) -> dict[str, Sequence[int]]:
    """Names and shapes of the head that a classifier in a state dict becomes.

    Args:
        state_dict (Mapping[str, Tensor]): The entries.
        entries (Iterable[str]): Names of the classifier's among them, its weight, its
            bias or both.
        channels (int): Channels that the backbone gives it.

    Returns:
        `head.fc.weight` and `head.fc.bias`; nothing without `entries`.

    Example:
        >>> from torch import ones
        >>> shapes = classifier_shapes({'fc.bias': ones(10)}, ['fc.bias'], 512)
        >>> tuple(shapes['head.fc.weight'])
        (10, 512)
    """
    for name in entries:
        classes = state_dict[name].shape[:1]
        return {"head.fc.weight": (*classes, channels), "head.fc.bias": classes}
    return {}


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
