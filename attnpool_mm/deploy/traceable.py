"""Operators that PyTorch's classic ONNX exporter gets wrong, in others that it has."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..utils.free_size import size_is_free


class TraceableOperators(TorchFunctionMode):
    """A context in which networks are traced with operators that are exported right.

    - `unflatten`: everything after it is exported for the size of the trace alone.
      Here it is a `reshape`.
    - `unfold`: it is exported for a known size alone. Here it is a slice for each place
      in a window.
    - `repeat_interleave` of a map: it is exported as a Tile, which takes most of the
      time of a pool in ONNX Runtime. Here it is a nearest upsampling.
    - Nearest upsampling to a size that is no multiple: ONNX Runtime divides by the
      ratio where PyTorch multiplies by its inverse, and some rows come from the pixel
      beside. Here it is an index, rounded as in PyTorch.

    Example:
        >>> x = torch.arange(3.0).view(1, 1, 3)
        >>> with TraceableOperators():
        ...     F.interpolate(x, size=7).flatten().tolist()
        [0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.unflatten:
            return _unflatten(*args, **kwargs)
        if func is Tensor.unfold:
            return _unfold(*args, **kwargs)
        if func is Tensor.repeat_interleave:
            return _repeat_interleave(*args, **kwargs)
        if func is F.interpolate:
            return _interpolate(*args, **kwargs)
        return func(*args, **kwargs)


def _unflatten(x: Tensor, dim: int, sizes: tuple) -> Tensor:
    dim %= x.dim()
    return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])


def _unfold(x: Tensor, dimension: int, size: int, step: int) -> Tensor:
    last = step * ((x.shape[dimension] - size) // step)
    before = (slice(None),) * (dimension % x.dim())
    places = [x[(*before, slice(i, i + last + 1, step))] for i in range(size)]
    return torch.stack(places, dim=-1)


def _repeat_interleave(
    x: Tensor, repeats: int | Tensor, dim: int | None = None, **kwargs: Any
) -> Tensor:
    if x.dim() != 4 or dim not in (2, 3) or not isinstance(repeats, int):
        return x.repeat_interleave(repeats, dim, **kwargs)
    factors = (float(repeats), 1.0) if dim == 2 else (1.0, float(repeats))
    return F.interpolate(x, scale_factor=factors, mode="nearest")


def _interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    if size is None or mode != "nearest":
        return F.interpolate(input, size, scale_factor, mode, *args, **kwargs)
    sides = input.shape[2:]
    sizes = size if isinstance(size, tuple | list) else [size] * len(sides)
    if not size_is_free() and all(
        target % side == 0 for side, target in zip(sides, sizes, strict=True)
    ):
        return F.interpolate(input, size, mode=mode)
    for dim, (side, target) in enumerate(zip(sides, sizes, strict=True), start=2):
        input = input.index_select(dim, _nearest(side, target, input.device))
    return input


def _nearest(side: int, target: int, device: torch.device) -> Tensor:
    """The pixel that each pixel of a side of `target` comes from."""
    ratio = torch.as_tensor(side).float() / torch.as_tensor(target).float()
    places = torch.arange(target, device=device).float() * ratio.to(device)
    return places.floor().long().clamp(max=side - 1)
