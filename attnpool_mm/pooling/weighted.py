"""Weighted pooling: the formula that every learned pool here shares."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..utils.checks import check_bool, check_int
from ..utils.errors import ConfigError
from ..utils.free_size import size_is_free


def pooling_window(
    size: tuple[int, int], window: int, padding: int = 0
) -> tuple[int, int]:
    """The window on a map of `size`: `window`, clamped to a padded map that is smaller.

    Example:
        >>> pooling_window((7, 1), 2)
        (2, 1)
    """
    return min(window, size[0] + 2 * padding), min(window, size[1] + 2 * padding)


def check_window(stride: int, window: int | None, padding: int) -> tuple[int, int]:
    """The width of a window, by default the stride, and its padding.

    Raises:
        ConfigError: `window` is not a positive integer, or `padding` not an integer
            from 0 to half of it.

    Example:
        >>> check_window(2, None, 0), check_window(2, 3, 1)
        ((2, 0), (3, 1))
    """
    window = stride if window is None else check_int("window", window)
    check_int("padding", padding, minimum=0)
    if padding > window // 2:
        raise ConfigError(
            f"padding={padding!r}: an integer from 0 to {window // 2} is accepted, "
            f"half of window={window}"
        )
    return window, padding


def weighted_pool2d(
    x: Tensor,
    weight: Tensor,
    stride: int,
    normalize: bool = True,
    window: int | None = None,
    padding: int = 0,
) -> Tensor:
    r"""Weighted mean over windows, :math:`y = avg(x w) / avg(w)`.

    A constant weight gives average pooling, a single huge one picks its element
    (a soft max pooling). Rows and columns that do not fill a window are dropped, as
    `nn.AvgPool2d` does, and a map smaller than the window is one window.

    Windows may overlap. Both means are over the pixels of a window that are inside the
    map: what is padded does not count, as with `count_include_pad=False`.

    Args:
        x (Tensor): Feature map (B, C, H, W).
        weight (Tensor): Weights (B, C, H, W); channels may be 1. A coarser grid (B, C,
            h, w) is read as its nearest upsampling to (H, W).
        stride (int): Distance between windows in pixels.
        normalize (bool): Divide by the window's mean weight. Without it, :math:`y =
            avg(x w)`. Default: True.
        window (int | None): Width and height of a window in pixels. Default: `stride`.
        padding (int): Pixels by which windows reach over each border, at most half a
            window. Default: 0.

    Raises:
        ConfigError: The grid of `weight` is finer than that of `x`, or `window` or
            `padding` is not one of the accepted values.

    Returns:
        The pooled map (B, C, max(1, h), max(1, w)) in the data type of `x`, with
        h = (H + 2 · padding − window) // stride + 1 and w likewise: H // stride by
        default.

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
    window, padding = check_window(stride, window, padding)
    sides = pooling_window(size, window, padding)
    avg = partial(
        F.avg_pool2d,
        kernel_size=sides,
        stride=stride,
        padding=padding,
        count_include_pad=False,
    )
    if (
        not normalize
        and padding == 0
        and _constant_in_windows(size, grid, sides, stride)
    ):
        # The weight can be applied after pooling, on a map that is stride² times
        # smaller.
        pooled = avg(x)
        return (pooled * upsample_nearest(weight, pooled.shape[-2:])).to(x.dtype)
    weight = upsample_nearest(weight, size)
    y = avg(x * weight)
    if normalize:
        y = y / avg(weight)
    return y.to(x.dtype)


def _constant_in_windows(
    size: tuple[int, int],
    grid: tuple[int, int],
    window: tuple[int, int],
    stride: int,
) -> bool:
    """Whether every cell of `grid` holds a whole number of windows, none padded."""
    return not size_is_free() and all(
        g < s and s % g == 0 and (s // g) % min(stride, s) == 0 and w <= stride
        for s, g, w in zip(size, grid, window, strict=True)
    )


def softmax_pool2d(
    x: Tensor,
    log_weight: Tensor,
    stride: int,
    window: int | None = None,
    padding: int = 0,
) -> Tensor:
    r"""Weighted mean over windows with the weights :math:`w = exp(log\_weight)`.

    It is `weighted_pool2d(x, log_weight.exp(), …)`, but exact whatever the size of the
    logarithms: the largest of each window is subtracted, where windows overlap too.
    It takes (window / stride)² times the memory.

    Args:
        x (Tensor): Feature map (B, C, H, W).
        log_weight (Tensor): Logarithms of the weights, of the shapes that `weight` may
            have in `weighted_pool2d`.
        stride (int): As in `weighted_pool2d`, as are the others.
        window (int | None): Width and height of a window in pixels. Default: `stride`.
        padding (int): Pixels by which windows reach over each border. Default: 0.

    Raises:
        ConfigError: `window` or `padding` is not one of the accepted values.

    Returns:
        The pooled map, as that of `weighted_pool2d`.

    Example:
        >>> x = torch.arange(3.0).view(1, 1, 1, 3)
        >>> softmax_pool2d(x, 1e4 * x, 1, window=3, padding=1).flatten().tolist()
        [1.0, 2.0, 2.0]
    """
    window, padding = check_window(stride, window, padding)
    size = x.shape[-2:]
    log_weight = full_precision(upsample_nearest(log_weight, size))
    if window == stride and padding == 0:
        weight = subtract_window_max(log_weight, stride).exp()
        return weighted_pool2d(x, weight, stride)
    rows, columns = pooling_window(size, window, padding)

    def windows(t: Tensor, outside: float) -> Tensor:
        t = F.pad(t, (padding,) * 4, value=outside)
        return t.unfold(2, rows, stride).unfold(3, columns, stride).flatten(-2)

    share = windows(log_weight, -math.inf).softmax(-1)
    return (windows(x, 0.0) * share).sum(-1).to(x.dtype)


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
    in float16 either. Windows are `stride` wide; where they overlap, a pixel is in
    several, and `softmax_pool2d` pools.
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
        in_channels (int): Channels C of the input.
        stride (int): Distance between windows in pixels. Default: 2.
        normalize (bool): Divide by the window's mean weight. Default: True.
        window (int | None): Width and height of a window in pixels. Default: `stride`,
            so that windows do not overlap.
        padding (int): Pixels by which windows reach over each border of the map, at
            most half a window. What is outside counts in no mean. Default: 0.

    Raises:
        ConfigError: `in_channels`, `stride` or `window` is not a positive integer,
            `padding` not an integer from 0 to half the window, or `normalize` no
            boolean.

    Example:
        >>> class BrightestPool2d(WeightedPool2d):
        ...     def compute_weight(self, x):
        ...         return x.exp()
        >>> BrightestPool2d(16, stride=2)(torch.rand(1, 16, 9, 1)).shape
        torch.Size([1, 16, 4, 1])
        >>> pool = BrightestPool2d(16, stride=2, window=3, padding=1)
        >>> pool(torch.rand(1, 16, 9, 1)).shape
        torch.Size([1, 16, 5, 1])
    """

    def __init__(
        self,
        in_channels: int,
        stride: int = 2,
        normalize: bool = True,
        window: int | None = None,
        padding: int = 0,
    ):
        super().__init__()
        self.in_channels = check_int("in_channels", in_channels)
        self.out_channels = in_channels
        self.stride = check_int("stride", stride)
        self.normalize = check_bool("normalize", normalize)
        self.window, self.padding = check_window(stride, window, padding)

    @property
    def tiles(self) -> bool:
        """Whether windows lie side by side, `stride` wide, from the first pixel on."""
        return self.window == self.stride and self.padding == 0

    def compute_weight(self, x: Tensor) -> Tensor:
        """The weights of `x` (B, C, H, W), on its grid or on a coarser one."""
        raise NotImplementedError(f"{type(self).__name__} defines no compute_weight(x)")

    def compute_log_weight(self, x: Tensor) -> Tensor | None:
        """Logarithms of the weights, where these may be too large; here None.

        Weights that are not normalised need none.
        """
        return None

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """Pool a map.

        Args:
            x (Tensor): (B, C, H, W).
            source (Tensor | None): Map on the same grid that the weights are computed
                from. Default: `x` itself.

        Returns:
            (B, C, max(1, h), max(1, w)), h = (H + 2 · padding − window) // stride + 1.
        """
        source = x if source is None else source
        windows = self.window, self.padding
        log_weight = self.compute_log_weight(source)
        if log_weight is not None:
            return softmax_pool2d(x, log_weight, self.stride, *windows)
        weight = self.compute_weight(source)
        return weighted_pool2d(x, weight, self.stride, self.normalize, *windows)

    def extra_repr(self) -> str:
        """The arguments that no submodule shows."""
        text = f"{self.in_channels}, stride={self.stride}, normalize={self.normalize}"
        if not self.tiles:
            text += f", window={self.window}, padding={self.padding}"
        return text


def init_convs(module: nn.Module) -> None:
    """Kaiming fan-out weights and zero biases for the convolutions of `module`."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
