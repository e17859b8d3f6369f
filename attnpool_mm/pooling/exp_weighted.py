"""The weighted mean over windows where the weight is an exponential."""

from collections.abc import Sequence
from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from ..light_backward import (
    images_at_a_time,
    light_backward_applies,
    with_light_backward,
)

LAST = torch.channels_last
VALUES_AT_A_TIME = 2**20  # 4 MB in float32


def applies(x: Tensor, log_weight: Tensor) -> bool:
    """Whether `exp_weighted_mean` takes these: training, a CPU, channels-last memory.

    Args:
        x: Feature map (B, C, H, W).
        log_weight: The logarithm of its weights.
    """
    return (
        x.shape == log_weight.shape
        and x.dtype == log_weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and light_backward_applies(x, log_weight)
        and x.is_contiguous(memory_format=LAST)
        and log_weight.is_contiguous(memory_format=LAST)
    )


def exp_weighted_mean(
    x: Tensor, log_weight: Tensor, window: tuple[int, int], normalize: bool
) -> Tensor:
    """Weighted mean over windows, with no weight or product of the map's size.

    A few images at a time, of small maps as many as stay in the cache; the backward
    pass makes their weights anew. What is kept for it is `x`, `log_weight` and two maps
    of the output's size.

    Args:
        x: Feature map (B, C, H, W) in channels-last memory.
        log_weight: The logarithm of its weights, likewise.
        window: Height and width of a window.
        normalize: Divide by the window's mean weight.

    Example:
        >>> x = torch.arange(4.0).view(1, 1, 2, 2)
        >>> exp_weighted_mean(x, torch.zeros_like(x), (2, 2), True).item()
        1.5
    """
    plain, forward, backward = (
        partial(f, window=window, normalize=normalize)
        for f in (_plain, _forward, _backward)
    )
    return with_light_backward(plain, forward, backward, x, log_weight)


def _plain(
    x: Tensor, log_weight: Tensor, window: tuple[int, int], normalize: bool
) -> tuple[Tensor, ...]:
    weight = log_weight.exp()
    y = F.avg_pool2d(weight * x, window)
    if not normalize:
        return (y,)
    mean = F.avg_pool2d(weight, window)
    y = y / mean
    return y, mean, y.clone()


def _forward(
    x: Tensor, log_weight: Tensor, window: tuple[int, int], normalize: bool
) -> tuple[Tensor, ...]:
    count = window[0] * window[1]
    size = [n // side for n, side in zip(x.shape[2:], window, strict=True)]
    y, mean = (
        torch.empty_like(x[..., : size[0], : size[1]], memory_format=LAST)
        for _ in range(2)
    )
    for part in images_at_a_time(x, VALUES_AT_A_TIME):
        weight = log_weight[part].exp()
        total = _sum(_windows(weight * x[part], window))
        if normalize:
            of_weight = _sum(_windows(weight, window))
            torch.div(of_weight, count, out=_pixels(mean[part]))
            torch.div(total, of_weight, out=_pixels(y[part]))
        else:
            torch.div(total, count, out=_pixels(y[part]))
    return (y, mean, y.clone()) if normalize else (y,)


def _backward(
    grad: Tensor,
    needed: Sequence[bool],
    x: Tensor,
    log_weight: Tensor,
    *saved: Tensor,
    window: tuple[int, int],
    normalize: bool,
) -> tuple[Tensor | None, Tensor | None]:
    count = window[0] * window[1]
    share = grad / (saved[0] * count) if normalize else grad / count
    # dy/dx = w / Σw and dy/d(log w) = dy/dx (x − y); without the division, x w / n.
    filled = all(n % side == 0 for n, side in zip(x.shape[2:], window, strict=True))
    empty = torch.empty_like if filled else torch.zeros_like
    grads = [
        empty(v) if n else None for v, n in zip((x, log_weight), needed, strict=True)
    ]
    for part in images_at_a_time(x, VALUES_AT_A_TIME):
        of_x, of_log = (None if g is None else _windows(g[part], window) for g in grads)
        weight = _windows(log_weight[part].exp(), window)
        of_x = torch.mul(weight, _by_window(share[part]), out=of_x)
        if of_log is None:
            continue
        inner = _windows(x[part], window)
        if normalize:
            torch.sub(inner, _by_window(saved[1][part]), out=of_log).mul_(of_x)
        else:
            torch.mul(inner, of_x, out=of_log)
    return tuple(grads)


def _windows(x: Tensor, window: tuple[int, int]) -> Tensor:
    """A view (B, rows, height, columns, width, C) of the whole windows."""
    rows, columns = (n // side for n, side in zip(x.shape[2:], window, strict=True))
    pixels = _pixels(x)[:, : rows * window[0], : columns * window[1]]
    return pixels.unflatten(2, (columns, window[1])).unflatten(1, (rows, window[0]))


def _sum(windows: Tensor) -> Tensor:
    """Over the windows' rows, then their columns: (B, rows, columns, C)."""
    return reduce(torch.add, reduce(torch.add, windows.unbind(2)).unbind(3))


def _by_window(y: Tensor) -> Tensor:
    """A view of (B, C, rows, columns) that goes with `_windows`."""
    return _pixels(y)[:, :, None, :, None]


def _pixels(x: Tensor) -> Tensor:
    """A view (B, H, W, C), contiguous in channels-last memory."""
    return x.permute(0, 2, 3, 1)
