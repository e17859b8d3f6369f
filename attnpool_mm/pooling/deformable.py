"""Self-attentive pooling with deformable patches."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.utils import _pair

from ..layers.build import build_conv
from ..registry import MODELS
from .self_attention import attend
from .self_attentive import SelfAttentivePool2d
from .weighted import full_precision, upsample_nearest


@MODELS.register_module()
class DeformableSelfAttentivePool2d(SelfAttentivePool2d):
    r"""Self-attentive pooling whose patches may look beside themselves.

    The patch embedding reads each pixel q of a patch at q + o(q) and scales it by
    m(q); the weight that attention gives the patch goes back to where it was read:

    .. math::
        e &= ReLU(BN(Conv_{p×p, stride\ p}(x(q + o(q)) · m(q)))) + position \\
        W &= exp(sigmoid(BN(Conv_{1×1}(upsample(attention(e)))))) \\
        w(q) &= W(q - o(q))

    Two 3×3 convolutions of stride p give the offsets o and the masks m, a sigmoid in
    between; both start at zero. Both samplings are bilinear, with positions clamped
    to the map. Patches do not overlap, so sampling and an ordinary convolution are the
    deformable convolution (DCNv2).

    With a patch that is a multiple of the stride and `normalize=True` it starts as
    average pooling, in which only the offsets learn, until they leave zero.

    Pixels that fill no patch have no offset. In mixed precision the samplings run in
    float32.

    Args:
        in_channels (int): Channels C of the input.
        stride (int): Width and height of a pooling window in pixels. Default: 2.
        patch_size (int): Width and height p of a patch in pixels. Default: 1.
        num_heads (int): Attention heads. Default: 2.
        embed_ratio (float): Width of a token over C, as in `SelfAttentivePool2d`.
            Default: 1.0.
        normalize (bool): Divide by the window's mean weight. Default: True.
        conv_cfg (dict | None): Type of the four convolutions, e.g.
            `dict(type='DynamicConv2d')`. Default: `nn.Conv2d`.
        window (int | None): Width and height of a pooling window in pixels. Default:
            `stride`.
        padding (int): Pixels by which windows reach over each border. Default: 0.

    Raises:
        ConfigError: An argument is out of range.

    Source:
        "Self-Attentive Pooling for Efficient Deep Learning", WACV 2023, arXiv
        2209.07659; "Deformable ConvNets v2", CVPR 2019, arXiv 1811.11168.

    Example:
        >>> pool = DeformableSelfAttentivePool2d(16, stride=2, patch_size=2)
        >>> pool(torch.rand(2, 16, 9, 8)).shape
        torch.Size([2, 16, 4, 4])
    """

    weight_by_patch = False
    embed_bias = False

    def __init__(
        self,
        in_channels: int,
        stride: int = 2,
        patch_size: int = 1,
        num_heads: int = 2,
        embed_ratio: float = 1.0,
        normalize: bool = True,
        conv_cfg: dict | None = None,
        window: int | None = None,
        padding: int = 0,
    ):
        super().__init__(
            in_channels,
            stride,
            patch_size,
            num_heads,
            embed_ratio,
            normalize,
            conv_cfg=conv_cfg,
            window=window,
            padding=padding,
        )
        pixels = patch_size**2
        self.offset = zero_conv(conv_cfg, in_channels, 2 * pixels, patch_size)
        self.mask = zero_conv(conv_cfg, in_channels, pixels, patch_size)

    def compute_weight(self, x: Tensor) -> Tensor:
        """The weights of `x` (B, C, H, W), by pixel and channel."""
        size = x.shape[-2:]
        x = self._pad_to_patch(x)
        offset = self._by_pixel(self.offset, x)
        mask = self._by_pixel(self.mask, x).sigmoid()
        moved = sample_bilinear(x, positions(offset)) * mask
        tokens = self.embed(moved.to(x.dtype))
        tokens = attend(tokens, self.position, self.attention)
        weight = upsample_nearest(self._restore(tokens, size).exp(), size)
        return sample_bilinear(weight, positions(-_fit(offset, size)))

    def _by_pixel(self, conv: nn.Module, x: Tensor) -> Tensor:
        """What `conv` gives for the pixels of a patch, on the pixels of the map.

        The channels of `conv` are p² pixels of a patch, row by row, n times. Returns
        (B, n, H, W) with the H and W that the patches fill.
        """
        p = self.patch_size
        rows, columns = (side // p for side in x.shape[-2:])
        y = full_precision(conv(x))[..., :rows, :columns]
        # F.pixel_shuffle, whose gradient fails without an image.
        y = y.unflatten(1, (y.shape[1] // p**2, p, p)).permute(0, 1, 4, 2, 5, 3)
        return y.flatten(4).flatten(2, 3)


class ZeroConv2d(_ConvNd):
    """A 3×3 convolution that gives zero until it is trained.

    No `nn.Conv2d` by name, since a backbone's initialiser would overwrite the zeros.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        stride (int): Stride in pixels.

    Example:
        >>> ZeroConv2d(4, 2, stride=2)(torch.rand(1, 4, 6, 6)).unique().tolist()
        [0.0]
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size=_pair(3),
            stride=_pair(stride),
            padding=_pair(1),
            dilation=_pair(1),
            transposed=False,
            output_padding=_pair(0),
            groups=1,
            bias=True,
            padding_mode="zeros",
        )
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


def zero_conv(
    conv_cfg: dict | None, in_channels: int, out_channels: int, stride: int
) -> nn.Module:
    """A 3×3 convolution of the type `conv_cfg` that gives zero until it is trained.

    Args:
        conv_cfg (dict | None): As in `build_conv`.
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        stride (int): Stride in pixels.

    Raises:
        ConfigError: As in `build_conv`.

    Example:
        >>> conv = zero_conv(dict(type='DynamicConv2d'), 4, 2, stride=2)
        >>> conv(torch.rand(1, 4, 6, 6)).unique().tolist()
        [0.0]
    """
    conv = build_conv(conv_cfg, in_channels, out_channels, 3, stride=stride, padding=1)
    if type(conv) is nn.Conv2d:
        return ZeroConv2d(in_channels, out_channels, stride)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


def positions(offset: Tensor) -> Tensor:
    """Pixels of a map, each with its offset added.

    Args:
        offset (Tensor): (B, 2, H, W) in pixels, vertical and horizontal.

    Example:
        >>> positions(torch.zeros(1, 2, 1, 3)).tolist()
        [[[[0.0, 0.0, 0.0]], [[0.0, 1.0, 2.0]]]]
    """
    height, width = offset.shape[-2:]
    rows = torch.arange(height, dtype=offset.dtype, device=offset.device)
    columns = torch.arange(width, dtype=offset.dtype, device=offset.device)
    rows, columns = torch.broadcast_tensors(rows[:, None], columns)
    return offset + torch.stack([rows, columns])


def sample_bilinear(x: Tensor, position: Tensor) -> Tensor:
    """A map at real positions, which are clamped to it.

    In operators that can be differentiated twice and exported anywhere;
    `F.grid_sample` gives the same, and has no second derivative.

    Args:
        x (Tensor): The map (B, C, H, W).
        position (Tensor): (B, 2, h, w) in pixels, vertical and horizontal.

    Returns:
        (B, C, h, w), in float32 at least.

    Example:
        >>> x = torch.arange(3.0).view(1, 1, 1, 3)
        >>> position = torch.tensor([0.0, 1.25]).view(1, 2, 1, 1)
        >>> sample_bilinear(x, position).item()
        1.25
    """
    height, width = x.shape[-2:]
    # One image and its positions as one row of pixels.
    pixels = full_precision(x).flatten(2)
    row = position[:, :1].flatten(2).clamp(0, height - 1)
    column = position[:, 1:].flatten(2).clamp(0, width - 1)
    # Clamped as integers too: a NaN is no index.
    top = row.detach().floor().long().clamp(0, height - 1)
    left = column.detach().floor().long().clamp(0, width - 1)
    bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    down, across = row - top, column - left

    def at(row: Tensor, column: Tensor) -> Tensor:
        index = row * width + column
        return pixels.gather(2, index.expand(-1, x.shape[1], -1))

    upper = at(top, left)
    upper = upper + across * (at(top, right) - upper)
    lower = at(bottom, left)
    lower = lower + across * (at(bottom, right) - lower)
    return (upper + down * (lower - upper)).unflatten(2, position.shape[-2:])


def _fit(offset: Tensor, size: tuple[int, int]) -> Tensor:
    """`offset` (B, 2, h, w) for a map of `size`, zero where no patch reaches."""
    offset = offset[..., : size[0], : size[1]]
    height, width = offset.shape[-2:]
    return F.pad(offset, (0, size[1] - width, 0, size[0] - height))
