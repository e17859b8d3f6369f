"""Self-attentive pooling with deformable patches."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.utils import _pair

from ..registry import MODELS
from ..utils.errors import ConfigError
from .self_attention import attend
from .self_attentive import SelfAttentivePool2d
from .weighted import full_precision, upsample_nearest


@MODELS.register_module()
class DeformableSelfAttentivePool2d(SelfAttentivePool2d):
    r"""Self-attentive pooling whose patches may look beside themselves.

    The patch embedding is a modulated deformable convolution (DCNv2, MMCV's): each
    pixel q of a patch is read at q + o(q) and scaled by sigmoid(m(q)), where two 3×3
    convolutions of stride p give the offsets o and the masks m; both start at zero.
    What attention says of a patch is brought back to the pixels it was read from:
    the restored map, sigmoid(…), is sampled (bilinearly, clamped at the border) at
    q − o(q), and w is the exponential of that.

    With a patch that is a multiple of the stride and `normalize=True` it starts as
    average pooling, in which only the offsets learn, until they leave zero.

    Pixels that fill no patch have no offset. Needs MMCV with its compiled operators;
    in mixed precision the deformable convolution runs in float32.

    Args:
        in_channels: Channels C of the input.
        stride: Width and height of a pooling window in pixels.
        patch_size: Width and height p of a patch in pixels.
        num_heads: Attention heads.
        embed_ratio: Width of a token over C, as in `SelfAttentivePool2d`.
        normalize: Divide by the window's mean weight.
        conv_cfg: Type of the restoration's convolution. Default: `nn.Conv2d`.

    Raises:
        ConfigError: An argument is out of range, or MMCV's operators are not there.

    Source:
        "Self-Attentive Pooling for Efficient Deep Learning", WACV 2023, arXiv
        2209.07659; "Deformable ConvNets v2", CVPR 2019, arXiv 1811.11168.

    Example:
        >>> pool = DeformableSelfAttentivePool2d(16, stride=2, patch_size=2)
        >>> pool(torch.rand(2, 16, 9, 8)).shape
        torch.Size([2, 16, 4, 4])
    """

    weight_by_patch = False

    def __init__(
        self,
        in_channels: int,
        stride: int = 2,
        patch_size: int = 1,
        num_heads: int = 2,
        embed_ratio: float = 1.0,
        normalize: bool = True,
        conv_cfg: dict | None = None,
    ):
        super().__init__(
            in_channels,
            stride,
            patch_size,
            num_heads,
            embed_ratio,
            normalize,
            conv_cfg=conv_cfg,
        )
        width = self.attention.embed_dim
        self.embed.conv = _deformable_conv(in_channels, width, patch_size)
        self.offset = ZeroConv2d(in_channels, 2 * patch_size**2, patch_size)
        self.mask = ZeroConv2d(in_channels, patch_size**2, patch_size)

    def _logit(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        x = self._pad_to_patch(x)
        offset = full_precision(self.offset(x))
        mask = full_precision(self.mask(x)).sigmoid()
        conv, *rest = self.embed
        grid = [side // self.patch_size for side in x.shape[-2:]]
        offset, mask = (t[..., : grid[0], : grid[1]] for t in (offset, mask))
        with torch.autocast(x.device.type, enabled=False):
            tokens = _convolve(conv, full_precision(x), offset, mask).to(x.dtype)
        for layer in rest:
            tokens = layer(tokens)
        tokens = attend(tokens, self.position, self.attention)
        logit = upsample_nearest(self._restore(tokens, size), size)
        return sample_back(logit, offset_by_pixel(offset, self.patch_size, size))


class ZeroConv2d(_ConvNd):
    """A 3×3 convolution that gives zero until it is trained.

    No `nn.Conv2d` by name, since a backbone's initialiser would overwrite the zeros.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride in pixels.

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


def offset_by_pixel(offset: Tensor, patch_size: int, size: tuple[int, int]) -> Tensor:
    """Where each pixel of a map was read, relative to itself.

    Args:
        offset: Offsets of the patches' pixels, (B, 2p², h, w): for each pixel of a
            patch, row by row, the vertical and the horizontal one (MMCV's order).
        patch_size: Width and height p of a patch.
        size: Height H and width W of the map; zero where no patch reaches.

    Returns:
        (B, 2, H, W), vertical and horizontal.

    Example:
        >>> offset = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
        >>> offset_by_pixel(offset, patch_size=1, size=(1, 2))[0].tolist()
        [[[1.0, 0.0]], [[-1.0, 0.0]]]
    """
    by_row = offset.unflatten(1, (patch_size, patch_size, 2)).permute(0, 3, 4, 1, 5, 2)
    pixels = by_row.flatten(4).flatten(2, 3)[..., : size[0], : size[1]]
    height, width = pixels.shape[-2:]
    return F.pad(pixels, (0, size[1] - width, 0, size[0] - height))


def sample_back(x: Tensor, offset: Tensor) -> Tensor:
    """`x` (B, C, H, W) at q − offset(q), for every pixel q.

    Bilinear, positions clamped to the map; `offset` is (B, 2, H, W) in pixels.

    Example:
        >>> x = torch.arange(3.0).view(1, 1, 1, 3)
        >>> right = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 1, 3)
        >>> sample_back(x, right).flatten().round(decimals=4).tolist()
        [0.0, 0.0, 1.0]
    """
    height, width = x.shape[-2:]
    rows = torch.arange(height, dtype=offset.dtype, device=offset.device)
    columns = torch.arange(width, dtype=offset.dtype, device=offset.device)
    # grid_sample's coordinates: pixel i of n lies at (2i + 1)/n − 1.
    vertical = (2 * (rows[:, None] - offset[:, 0]) + 1) / height - 1
    horizontal = (2 * (columns - offset[:, 1]) + 1) / width - 1
    grid = torch.stack([horizontal, vertical], -1)
    with torch.autocast(x.device.type, enabled=False):
        return F.grid_sample(
            full_precision(x), grid, padding_mode="border", align_corners=False
        )


def _deformable_conv(in_channels: int, out_channels: int, size: int) -> nn.Module:
    try:
        from mmcv.ops import ModulatedDeformConv2d
    except ImportError as error:
        raise ConfigError(
            "DeformableSelfAttentivePool2d needs MMCV with its compiled operators "
            f"(mmcv.ops); importing them failed: {error}"
        ) from error
    conv = ModulatedDeformConv2d(in_channels, out_channels, size, stride=size)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(conv.bias)
    return conv


def _convolve(conv: nn.Module, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
    from mmcv.ops import modulated_deform_conv2d

    if len(x) == 0:  # no image, which the operator refuses
        return F.conv2d(x, conv.weight, conv.bias, conv.stride)
    # A side of 1 may have any stride in a contiguous tensor (channels-last memory
    # does that to a 1×1 kernel), which the operator's backward fails on.
    x, offset, mask, weight = (
        t.contiguous().flatten().view(t.shape) for t in (x, offset, mask, conv.weight)
    )
    return modulated_deform_conv2d(x, offset, mask, weight, conv.bias, conv.stride)
