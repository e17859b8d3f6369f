"""AdaPool: adaptive exponential pooling."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import MODELS
from ..utils.checks import is_int
from ..utils.errors import ConfigError
from ..utils.free_size import size_is_free
from .weighted import (
    WeightedPool2d,
    full_precision,
    pooling_window,
    subtract_window_max,
)


@MODELS.register_module()
class AdaptiveExponentialPool2d(WeightedPool2d):
    r"""AdaPool: a learned mixture of two exponentially weighted means.

    One weighs a pixel by its likeness to the window's mean :math:`\bar{x}`, measured
    by the Dice-Sørensen coefficient (eDSCWPool), the other by its size (eMPool, which
    is `SoftPool2d`). Sums are over a window:

    .. math::
        DSC_i &= \frac{2 |x_i \bar{x}|}{x_i^2 + \bar{x}^2} \\
        w_i &= \beta \frac{exp(DSC_i)}{\sum_j exp(DSC_j)}
               + (1 - \beta) \frac{exp(x_i)}{\sum_j exp(x_j)}, \quad
        y = \sum_i w_i x_i

    The coefficient of two zeros is 0. :math:`\beta` is the sigmoid of a parameter and
    starts at 1/2, so that it stays between 0 and 1 (the authors clamp it). The paper
    has one :math:`\beta` for each output pixel, which ties a network to one image
    size. Here they form a grid, stretched over any output map (bilinear): a grid of
    the output's size is the paper's form.

    Args:
        in_channels (int): Channels C of the input.
        stride (int): Width and height of a pooling window in pixels. Default: 2.
        normalize (bool): Of no effect but a rounding, since the weights of a window
            have a mean of 1 (w above times the pixels of a window); `MixedPool2d` gives
            it. Default: True.
        grid_size (int | Sequence[int]): Rows and columns of the grid of :math:`\beta`,
            one integer or two. Default: 1.
        window (int | None): As in `MixedPool2d`; `stride` alone is accepted, as
            `padding` 0 is: windows cannot overlap, since a pixel's weight belongs to
            one. Default: None.
        padding (int): See `window`. Default: 0.

    Raises:
        ConfigError: An argument is not one of the accepted values.

    Source:
        "AdaPool: Exponential Adaptive Pooling for Information-Retaining
        Downsampling", IEEE Transactions on Image Processing 2023, arXiv 2111.00772.

    Example:
        >>> import torch
        >>> AdaptiveExponentialPool2d(16, stride=2)(torch.rand(2, 16, 9, 8)).shape
        torch.Size([2, 16, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        stride: int = 2,
        normalize: bool = True,
        grid_size: int | Sequence[int] = 1,
        window: int | None = None,
        padding: int = 0,
    ):
        super().__init__(in_channels, stride, normalize, window, padding)
        if not self.tiles:
            raise ConfigError(
                f"window={window!r}, padding={padding!r}: window=stride and padding=0 "
                "are accepted, since a weight belongs to one window alone"
            )
        sides = (grid_size,) * 2 if is_int(grid_size) else grid_size
        if (
            not isinstance(sides, (list, tuple))
            or len(sides) != 2
            or not all(is_int(side) and side > 0 for side in sides)
        ):
            raise ConfigError(
                f"grid_size={grid_size!r}: a positive integer or two are accepted"
            )
        self.beta_logit = nn.Parameter(torch.zeros(1, 1, *sides))

    def compute_weight(self, x: Tensor) -> Tensor:
        """The weights of `x` (B, C, H, W), of the same shape; 1 in a window's mean."""
        x = full_precision(x)
        window = pooling_window(x.shape[-2:], self.stride)
        mean = F.avg_pool2d(x, window)
        beta = full_precision(self.beta_logit).sigmoid()
        if size_is_free() or beta.shape[-2:] != mean.shape[-2:]:
            beta = F.interpolate(beta, size=mean.shape[-2:], mode="bilinear")
        alike = dice_sorensen(x, _by_pixel(mean, window, x)).exp()
        large = subtract_window_max(x, self.stride).exp()
        alike, large = (w / _by_pixel(F.avg_pool2d(w, window), window, x)
                        for w in (alike, large))  # fmt: skip
        beta = _by_pixel(beta, window, x)
        return beta * alike + (1 - beta) * large

    def extra_repr(self) -> str:
        """The arguments that no submodule shows."""
        return f"{super().extra_repr()}, grid_size={tuple(self.beta_logit.shape[2:])}"


def dice_sorensen(a: Tensor, b: Tensor) -> Tensor:
    """The Dice-Sørensen coefficient 2|ab| / (a² + b²), 0 of two zeros.

    Example:
        >>> dice_sorensen(torch.tensor([2.0, 3.0, 0.0]), torch.tensor([-2.0, 1.0, 0.0]))
        tensor([1.0000, 0.6000, 0.0000])
    """
    a, b = a.abs(), b.abs()
    # By the quotient, whose square neither overflows nor vanishes.
    largest = torch.maximum(a, b).clamp(min=torch.finfo(a.dtype).tiny)
    ratio = torch.minimum(a, b) / largest
    return 2 * ratio / (1 + ratio.square())


def _by_pixel(windows: Tensor, window: tuple[int, int], x: Tensor) -> Tensor:
    """What each pixel's window has; where none is whole, what the next one has."""
    pixels = windows.repeat_interleave(window[0], 2).repeat_interleave(window[1], 3)
    height, width = (n - m for n, m in zip(x.shape[2:], pixels.shape[2:], strict=True))
    return F.pad(pixels, (0, width, 0, height), mode="replicate")
