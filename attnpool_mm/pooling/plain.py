"""What the learned pools are compared with: max, average, strided convolution.

PyTorch's layers with the arguments of the family, (in_channels, stride, …).
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import MODELS
from ..utils.checks import check_bool, check_int, check_odd, is_int
from ..utils.errors import ConfigError


class PlainPool2d(nn.Module):
    """Base of max and average pooling. A map smaller than the kernel is one window.

    Args:
        in_channels (int): Channels of the input.
        stride (int): Distance of the windows in pixels. Default: 2.
        kernel_size (int | None): Width and height of a window. Default: the stride.
        padding (int): As in PyTorch's layers. Default: 0.
        ceil_mode (bool): As in PyTorch's layers. Default: False.

    Raises:
        ConfigError: `in_channels`, `stride` or `kernel_size` is not a positive
            integer, or `padding` is more than half the kernel.
    """

    pool: Callable[..., Tensor]

    def __init__(
        self,
        in_channels: int,
        stride: int = 2,
        kernel_size: int | None = None,
        padding: int = 0,
        ceil_mode: bool = False,
    ):
        super().__init__()
        self.in_channels = check_int("in_channels", in_channels)
        self.out_channels = in_channels
        self.stride = check_int("stride", stride)
        if kernel_size is None:
            kernel_size = stride
        self.kernel_size = check_int("kernel_size", kernel_size)
        if not is_int(padding) or not 0 <= padding <= kernel_size // 2:
            raise ConfigError(
                f"padding={padding!r}: an integer from 0 to half the kernel_size, "
                f"{kernel_size // 2}, is accepted"
            )
        self.padding = padding
        self.ceil_mode = check_bool("ceil_mode", ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B, C, H, W)."""
        window = [min(self.kernel_size, s + 2 * self.padding) for s in x.shape[-2:]]
        return self.pool(x, window, self.stride, self.padding, ceil_mode=self.ceil_mode)

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"{self.in_channels}, stride={self.stride}, "
            f"kernel_size={self.kernel_size}, padding={self.padding}, "
            f"ceil_mode={self.ceil_mode}"
        )


@MODELS.register_module()
class MaxPool2d(PlainPool2d):
    """Max pooling; the arguments are those of `PlainPool2d`.

    Example:
        >>> MaxPool2d(16, stride=2)(torch.rand(1, 16, 9, 8)).shape
        torch.Size([1, 16, 4, 4])
    """

    pool = staticmethod(F.max_pool2d)


@MODELS.register_module()
class AvgPool2d(PlainPool2d):
    """Average pooling; the arguments are those of `PlainPool2d`.

    Example:
        >>> AvgPool2d(16, stride=2)(torch.rand(1, 16, 9, 8)).shape
        torch.Size([1, 16, 4, 4])
    """

    pool = staticmethod(F.avg_pool2d)


@MODELS.register_module()
class StridedConv2d(nn.Sequential):
    """Strided convolution, BatchNorm, ReLU, in the place of a pool.

    With it a comparison holds the placement fixed: the stage runs at full
    resolution, and only the layer that halves the map differs.

    Args:
        in_channels (int): Channels of input and output.
        stride (int): Stride in pixels. Default: 2.
        kernel_size (int): Odd width and height of the kernel. Default: 3.

    Raises:
        ConfigError: An argument is not a positive integer, or `kernel_size` is even.

    Example:
        >>> import torch
        >>> StridedConv2d(16, stride=2)(torch.rand(2, 16, 9, 8)).shape
        torch.Size([2, 16, 5, 4])
    """

    def __init__(self, in_channels: int, stride: int = 2, kernel_size: int = 3):
        check_int("in_channels", in_channels)
        check_int("stride", stride)
        check_odd("kernel_size", kernel_size)
        super().__init__()
        self.in_channels = self.out_channels = in_channels
        self.stride = stride
        self.conv = nn.Conv2d(
            in_channels,
            in_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
