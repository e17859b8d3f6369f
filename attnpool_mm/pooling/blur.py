"""BlurPool: anti-aliased subsampling."""

from math import comb

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import MODELS
from ..utils.checks import check_choice, check_int
from ..utils.errors import ConfigError

MAX_KERNEL_SIZE = 7


@MODELS.register_module()
class BlurPool2d(nn.Module):
    """Subsampling after a fixed low-pass filter, which makes it shift-invariant.

    The filter is the outer product of binomial coefficients that sum to 1, each
    channel by itself: 3 is [1, 2, 1] / 4, 5 is [1, 4, 6, 4, 1] / 16. A side of n
    pixels becomes ⌈n / stride⌉, as by a padded convolution. In the paper it follows a
    max pooling or a convolution with stride 1; alone it takes an average pool's place.

    The filter is no parameter and not in the state dict: `kernel_size` says it all.

    Args:
        in_channels (int): Channels of the input.
        stride (int): Distance of the output's pixels in the input. Default: 2.
        kernel_size (int): Width and height of the filter, 1 (no blur) to 7. An even one
            looks a pixel further to the right and below. Default: 3.
        padding_mode (str): What is beyond the border, "reflect" or "zeros". A map too
            small to be reflected once is reflected again; 1 pixel is repeated. Default:
            'reflect'.

    Raises:
        ConfigError: An argument is not one of the accepted values.

    Source:
        "Making Convolutional Networks Shift-Invariant Again", ICML 2019, arXiv
        1904.11486.

    Example:
        >>> BlurPool2d(16, stride=2)(torch.rand(2, 16, 9, 8)).shape
        torch.Size([2, 16, 5, 4])
    """

    kernel: Tensor

    def __init__(
        self,
        in_channels: int,
        stride: int = 2,
        kernel_size: int = 3,
        padding_mode: str = "reflect",
    ):
        super().__init__()
        self.in_channels = check_int("in_channels", in_channels)
        self.out_channels = in_channels
        self.stride = check_int("stride", stride)
        if check_int("kernel_size", kernel_size) > MAX_KERNEL_SIZE:
            raise ConfigError(
                f"kernel_size={kernel_size}: an integer from 1 to {MAX_KERNEL_SIZE} "
                "is accepted"
            )
        self.kernel_size = kernel_size
        self.padding_mode = check_choice(
            "padding_mode", padding_mode, ("reflect", "zeros")
        )
        row = torch.tensor([comb(kernel_size - 1, k) for k in range(kernel_size)])
        kernel = torch.outer(row, row) / 4.0 ** (kernel_size - 1)
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B, C, H, W) to (B, C, ⌈H/stride⌉, ⌈W/stride⌉)."""
        channels = int(x.shape[1])  # in a graph the filter is a constant
        kernel = self.kernel.expand(channels, 1, -1, -1)
        return F.conv2d(self._pad(x), kernel, stride=self.stride, groups=channels)

    def _pad(self, x: Tensor) -> Tensor:
        before, after = (self.kernel_size - 1) // 2, self.kernel_size // 2
        if self.padding_mode == "zeros":
            return F.pad(x, (before, after, before, after))
        if after < min(x.shape[-2:]):
            return F.pad(x, (before, after, before, after), mode="reflect")
        rows, columns = (reflected(n, before, after) for n in x.shape[-2:])
        return x[:, :, rows][..., columns]

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"{self.in_channels}, stride={self.stride}, "
            f"kernel_size={self.kernel_size}, padding_mode={self.padding_mode!r}"
        )


def reflected(length: int, before: int, after: int) -> list[int]:
    """Indices of a line of `length` pixels with its reflections around it.

    Example:
        >>> reflected(3, 3, 2)
        [1, 2, 1, 0, 1, 2, 1, 0]
    """
    period = max(1, 2 * (length - 1))
    places = (i % period for i in range(-before, length + after))
    return [min(place, period - place) for place in places]
