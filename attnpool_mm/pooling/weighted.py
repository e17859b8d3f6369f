"""Weighted pooling: the formula that every learned pool here shares."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..utils.checks import check_choice, check_int
from ..utils.errors import ConfigError


def pooling_window(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """The window on a map of `size`: `stride`, clamped to a map that is smaller.

    Example:
        >>> pooling_window((7, 1), 2)
        (2, 1)
    """
    return min(stride, size[0]), min(stride, size[1])


def weighted_pool2d(
    x: Tensor, weight: Tensor, stride: int, normalize: bool = True
) -> Tensor:
    r"""Weighted mean over windows, :math:`y = avg(x w) / avg(w)`.

    A constant weight gives average pooling, a single huge one picks its element
    (a soft max pooling). Windows are `stride` wide and do not overlap; rows and
    columns that do not fill a window are dropped, as `nn.AvgPool2d` does, and a
    map smaller than the window is one window.

    Args:
        x: Feature map (B, C, H, W).
        weight: Weights (B, C, H, W); channels may be 1. A coarser grid
            (B, C, h, w) is read as its nearest upsampling to (H, W).
        stride: Width and height of a window in pixels.
        normalize: Divide by the window's mean weight. Without it,
            :math:`y = avg(x w)`.

    Raises:
        ConfigError: The grid of `weight` is finer than that of `x`.

    Returns:
        The pooled map (B, C, max(1, H // stride), max(1, W // stride)), in the
        data type of `x`.

    Source:
        "LIP: Local Importance-based Pooling", ICCV 2019; "Self-Attentive Pooling for
        Efficient Deep Learning", WACV 2023.

    Example:
        >>> x = torch.arange(4.0).view(1, 1, 2, 2)
        >>> weighted_pool2d(x, torch.ones_like(x), 2).item()
        1.5
    """
    size, grid = x.shape[-2:], weight.shape[-2:]
    if grid[0] > size[0] or grid[1] > size[1]:
        raise ConfigError(
            f"weight of {grid[0]}x{grid[1]} for a map of {size[0]}x{size[1]}: the "
            "same grid or a coarser one is accepted"
        )
    window = pooling_window(size, stride)
    if not normalize and _whole_windows_per_cell(size, grid, window):
        # Constant inside every window: the weight can be applied after pooling,
        # on a map that is stride² times smaller.
        pooled = F.avg_pool2d(x, window)
        return (pooled * upsample_nearest(weight, pooled.shape[-2:])).to(x.dtype)
    weight = upsample_nearest(weight, size)
    y = F.avg_pool2d(x * weight, window)
    if normalize:
        y = y / F.avg_pool2d(weight, window)
    return y.to(x.dtype)


def _whole_windows_per_cell(
    size: tuple[int, int], grid: tuple[int, int], window: tuple[int, int]
) -> bool:
    """Whether every cell of `grid` covers a whole number of windows."""
    return all(
        g < s and s % g == 0 and (s // g) % w == 0
        for s, g, w in zip(size, grid, window, strict=True)
    )


def upsample_nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest upsampling of (B, C, h, w) to `size`; `x` itself if it has it."""
    if x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="nearest")


def pad_to(x: Tensor, side: int) -> Tensor:
    """`x` (B, C, H, W) with zeros below and to the right up to `side` pixels."""
    short = [max(0, side - length) for length in x.shape[-2:]]
    return F.pad(x, (0, short[1], 0, short[0])) if any(short) else x


def full_precision(x: Tensor) -> Tensor:
    """`x` in float32, if it is in float16 or bfloat16."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def subtract_window_max(logit: Tensor, stride: int) -> Tensor:
    """`logit` (B, C, H, W) less the largest value of its pooling window.

    A normalised weight exp(logit) does not change, and exp no longer overflows,
    in float16 either.
    """
    height, width = logit.shape[-2:]
    rows, columns = pooling_window((height, width), stride)
    peak = F.max_pool2d(logit.detach(), (rows, columns))
    peak = peak.repeat_interleave(rows, 2).repeat_interleave(columns, 3)
    missing = (0, width - peak.shape[3], 0, height - peak.shape[2])
    shifted = logit - F.pad(peak, missing, mode="replicate")
    # Rows and columns that fill no window have a neighbour's peak; nothing pools
    # them, but an infinite exp there would make the gradients NaN.
    return shifted.clamp(max=0)


class WeightedPool2d(nn.Module):
    """Base of the pools :math:`y = avg(x w) / avg(w)`: a subclass gives w.

    Args:
        in_channels: Channels C of the input.
        stride: Width and height of a window in pixels.
        normalize: Divide by the window's mean weight.

    Raises:
        ConfigError: `in_channels` or `stride` is not a positive integer, or
            `normalize` no boolean.

    Example:
        >>> class BrightestPool2d(WeightedPool2d):
        ...     def compute_weight(self, x):
        ...         return x.exp()
        >>> BrightestPool2d(16, stride=2)(torch.rand(1, 16, 9, 1)).shape
        torch.Size([1, 16, 4, 1])
    """

    def __init__(self, in_channels: int, stride: int = 2, normalize: bool = True):
        super().__init__()
        self.in_channels = check_int("in_channels", in_channels)
        self.out_channels = in_channels
        self.stride = check_int("stride", stride)
        self.normalize = check_choice("normalize", normalize, (True, False))

    def compute_weight(self, x: Tensor) -> Tensor:
        """The weights of `x` (B, C, H, W), on its grid or on a coarser one."""
        raise NotImplementedError(f"{type(self).__name__} defines no compute_weight(x)")

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B, C, H, W) to (B, C, max(1, H//stride), max(1, W//stride))."""
        weight = self.compute_weight(x)
        return weighted_pool2d(x, weight, self.stride, self.normalize)

    def extra_repr(self) -> str:
        """The arguments that no submodule shows."""
        return f"{self.in_channels}, stride={self.stride}, normalize={self.normalize}"


def init_convs(module: nn.Module) -> None:
    """Kaiming fan-out weights and zero biases for the convolutions of `module`."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
