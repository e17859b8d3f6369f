"""Plain attention pooling."""

from collections import OrderedDict

from torch import Tensor, nn

from ..layers.build import build_conv
from ..layers.saturation import SaturatedSequential
from ..registry import MODELS
from ..utils.checks import check_int
from .position import LearnedPosition2d
from .self_attention import SelfAttention, attend
from .weighted import init_convs, pad_to


@MODELS.register_module()
class AttentionPool2d(nn.Module):
    r"""Self-attention over the map, and a strided convolution of its output.

    What self-attentive pooling is compared with: attention gives the values here,
    not the weights of a mean.

    .. math::
        e &= ReLU(BN(Conv_{1×1}(x))) + position \\
        y &= ReLU(BN(Conv_{s×s, stride\ s}(attention(e))))

    In training, the last norm multiplies roundings by |mean| / σ of what it gets. That
    is large where attention has made all pixels alike, and in bfloat16 single outputs
    are then some tenths off.

    A map smaller than the stride is padded with zeros to one window; rows and
    columns that fill no window are dropped.

    Args:
        in_channels (int): Channels C of the input.
        stride (int): Stride s in pixels, and the kernel of the last convolution.
            Default: 2.
        num_heads (int): Attention heads h. The tokens are h · max(1, round(C / h))
            wide. Default: 2.
        conv_cfg (dict | None): Type of the two convolutions. Default: `nn.Conv2d`.

    Raises:
        ConfigError: An argument is not a positive integer.

    Source:
        "Self-Attentive Pooling for Efficient Deep Learning", WACV 2023, arXiv
        2209.07659 (its comparison).

    Example:
        >>> import torch
        >>> AttentionPool2d(16, stride=2)(torch.rand(2, 16, 9, 8)).shape
        torch.Size([2, 16, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        stride: int = 2,
        num_heads: int = 2,
        conv_cfg: dict | None = None,
    ):
        super().__init__()
        self.in_channels = check_int("in_channels", in_channels)
        self.out_channels = in_channels
        self.stride = check_int("stride", stride)
        check_int("num_heads", num_heads)
        width = num_heads * max(1, round(in_channels / num_heads))
        self.embed = SaturatedSequential(
            OrderedDict(
                conv=build_conv(conv_cfg, in_channels, width, 1),
                norm=nn.BatchNorm2d(width),
                relu=nn.ReLU(inplace=True),
            )
        )
        self.position = LearnedPosition2d(width)
        self.attention = SelfAttention(width, num_heads)
        self.project = SaturatedSequential(
            OrderedDict(
                conv=build_conv(conv_cfg, width, in_channels, stride, stride=stride),
                norm=nn.BatchNorm2d(in_channels),
                relu=nn.ReLU(inplace=True),
            )
        )
        init_convs(self)

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B, C, H, W) to (B, C, max(1, H//stride), max(1, W//stride))."""
        x = attend(self.embed(x), self.position, self.attention)
        return self.project(pad_to(x, self.stride))

    def extra_repr(self) -> str:
        """The arguments that no submodule shows."""
        return (
            f"{self.in_channels}, stride={self.stride}, "
            f"num_heads={self.attention.num_heads}"
        )
