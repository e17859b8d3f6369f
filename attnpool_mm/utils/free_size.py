"""Traces of layers that hold for maps of any size."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_FREE: ContextVar[bool] = ContextVar("free_size", default=False)


@contextmanager
def free_size() -> Iterator[None]:
    """Let what is traced here hold for maps of other sizes too.

    Where a size allows a shorter way (patches that tile the map, a map within a table),
    a trace would take it for every size. In here layers take the way for all sizes.

    Example:
        >>> with free_size():
        ...     size_is_free()  # nothing is being traced
        False
    """
    token = _FREE.set(True)
    try:
        yield
    finally:
        _FREE.reset(token)


def size_is_free() -> bool:
    """Whether this is a trace that has to hold for maps of other sizes too."""
    return torch.jit.is_tracing() and _FREE.get()
