"""Finding the state dict in what a checkpoint file holds."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..utils.errors import ConfigError

WRAPPERS = ("state_dict", "net", "model", "model_state_dict")


def is_state_dict(value: Any) -> bool:
    """Whether it is a dict of names and tensors."""
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(entry, Tensor)
        for name, entry in value.items()
    )


def find_state_dict(checkpoint: Mapping[str, Any], path: str) -> Mapping[str, Tensor]:
    """The state dict in a checkpoint: itself, or under one of the usual keys.

    In a checkpoint of MMEngine's with averaged weights (EMA), these are the ones
    under `state_dict`.

    Args:
        checkpoint: What the file holds.
        path: The file, for the error.

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
