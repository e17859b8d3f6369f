"""Self-attentive ("non-local", NLP) pooling."""

import warnings
from collections import OrderedDict

import torch
from torch import Tensor, nn

from ..layers.build import build_conv
from ..layers.saturation import SaturatedSequential
from ..registry import MODELS
from ..utils.checks import check_bool, check_int, check_number
from ..utils.errors import ConfigError
from ..utils.free_size import size_is_free
from .position import LearnedPosition2d
from .self_attention import SelfAttention, attend
from .weighted import (
    WeightedPool2d,
    full_precision,
    init_convs,
    pad_to,
    subtract_window_max,
    upsample_nearest,
)


@MODELS.register_module()
class SelfAttentivePool2d(WeightedPool2d):
    r"""Pooling whose weights come from self-attention over the whole map.

    Patches of the map become tokens, one multi-head self-attention relates them,
    and a 1×1 convolution brings them back to a weight for every pixel and channel:

    .. math::
        e &= ReLU(BN(Conv_{p×p, stride\ p}(x))) + position \\
        w &= exp(sigmoid(BN(Conv_{1×1}(upsample(attention(e)))))) \\
        y &= avg(w x) / avg(w)

    A map smaller than a patch is padded with zeros to one patch, with a warning. Where
    patches do not tile a map, their grid is stretched over the whole of it: of H rows
    with h = ⌊H / p⌋ patches, row i gets the weight of patch ⌊i · h / H⌋. For 7 rows and
    p = 2 these are 0, 0, 0, 1, 1, 2, 2: row 2 lies in patch 1, and gets that of 0.

    In training, the last norm works at the resolution of the patches. Its batch
    statistics are those of the upsampled map; only the running variance differs,
    by n/(n−1), since it counts fewer values. Where patches do not tile the map the
    statistics would differ, and the norm works on the upsampled map.

    In float16 the convolutions, the norms and the projections of attention saturate at
    ±65504: the output is finite for any input, and near float32's while their sums are
    smaller than that, with 64 channels up to values of about 10,000. Train by autocast:
    in a module that is float16 throughout, the gradients of PyTorch's batch norm are
    not finite for values of about 30,000. Where the first norm does not bound the
    tokens (`embed_norm=False`, or in evaluation with statistics of other maps), those
    of PyTorch's attention are not from values of about 10,000 on.

    Args:
        in_channels (int): Channels C of the input.
        stride (int): Distance between pooling windows in pixels. Default: 2.
        patch_size (int): Width and height p of a patch in pixels. Default: 1.
        num_heads (int): Attention heads h. Default: 2.
        embed_ratio (float): Width of a token over C; the width is h · max(1,
            round(embed_ratio · C / h)). Default: 1.0.
        normalize (bool): Divide by the window's mean weight (False: "nowin"). Default:
            True.
        exp (bool): Exponentiate the weight (False: "noexp", w = sigmoid). Default:
            True.
        sigmoid (bool): Bound the weight's logit (False: "nosigmoid"). Default: True.
        position (bool): Add learned positions to the tokens (False: "nope"). Default:
            True.
        embed_norm (bool): BatchNorm after the patch embedding (False: "nobn1").
            Default: True.
        restore_norm (bool): BatchNorm after the restoration (False: "nobn2"). Default:
            True.
        conv_cfg (dict | None): Type of the two convolutions, e.g.
            `dict(type='DynamicConv2d')`. Default: `nn.Conv2d`.
        window (int | None): Width and height of a pooling window in pixels. Default:
            `stride`.
        padding (int): Pixels by which windows reach over each border. Default: 0.

    Raises:
        ConfigError: An argument is out of range, or `exp` and `sigmoid` are both
            False (the weights could be negative).

    Source:
        "Self-Attentive Pooling for Efficient Deep Learning", WACV 2023, arXiv
        2209.07659.

    Example:
        >>> pool = SelfAttentivePool2d(64, stride=2, num_heads=2, normalize=False)
        >>> pool(torch.rand(2, 64, 15, 15)).shape
        torch.Size([2, 64, 7, 7])
    """

    weight_by_patch = True  # the weight is constant in a patch
    embed_bias = True

    def __init__(
        self,
        in_channels: int,
        stride: int = 2,
        patch_size: int = 1,
        num_heads: int = 2,
        embed_ratio: float = 1.0,
        normalize: bool = True,
        exp: bool = True,
        sigmoid: bool = True,
        position: bool = True,
        embed_norm: bool = True,
        restore_norm: bool = True,
        conv_cfg: dict | None = None,
        window: int | None = None,
        padding: int = 0,
    ):
        super().__init__(in_channels, stride, normalize, window, padding)
        self.patch_size = check_int("patch_size", patch_size)
        check_int("num_heads", num_heads)
        check_number("embed_ratio", embed_ratio, above=0)
        for name, flag in (
            ("exp", exp),
            ("sigmoid", sigmoid),
            ("position", position),
            ("embed_norm", embed_norm),
            ("restore_norm", restore_norm),
        ):
            check_bool(name, flag)
        if not (exp or sigmoid):
            raise ConfigError(
                "exp=False with sigmoid=False: at most one of them may be False, "
                "or the weights could be negative"
            )
        self.exp = exp
        self.sigmoid = sigmoid
        width = num_heads * max(1, round(embed_ratio * in_channels / num_heads))
        embed = build_conv(
            conv_cfg,
            in_channels,
            width,
            patch_size,
            stride=patch_size,
            bias=self.embed_bias,
        )
        self.embed = SaturatedSequential(OrderedDict(conv=embed))
        if embed_norm:
            self.embed.norm = nn.BatchNorm2d(width)
        self.embed.relu = nn.ReLU(inplace=True)
        self.position = LearnedPosition2d(width) if position else None
        self.attention = SelfAttention(width, num_heads)
        restore = build_conv(conv_cfg, width, in_channels, 1)
        self.restore = SaturatedSequential(OrderedDict(conv=restore))
        if restore_norm:
            self.restore.norm = nn.BatchNorm2d(in_channels)
        init_convs(self)
        in_patch = self.window <= stride and padding == 0 and patch_size % stride == 0
        if self.weight_by_patch and normalize and in_patch:
            warnings.warn(
                f"{type(self).__name__} with patch_size={patch_size}, a multiple of "
                f"stride={stride}, and normalize=True: the weight is constant in every "
                "window and cancels, and the attention gets no gradient (the pool "
                "alone is average pooling). Set normalize=False, or a patch_size that "
                "is not a multiple of the stride.",
                stacklevel=2,
            )

    def compute_weight(self, x: Tensor) -> Tensor:
        """The weights of `x` (B, C, H, W), by patch and channel."""
        logit = self._logit(self._pad_to_patch(x), x.shape[-2:])
        if self._needs_log_weight and self.tiles:
            logit = subtract_window_max(
                upsample_nearest(logit, x.shape[-2:]), self.stride
            )
        elif self._needs_log_weight:
            logit = logit - logit.detach().amax((2, 3), keepdim=True)
        return logit.exp() if self.exp else logit

    def compute_log_weight(self, x: Tensor) -> Tensor | None:
        """Logarithms of the weights without bound that are normalised, else None."""
        if not self._needs_log_weight:
            return None
        return self._logit(self._pad_to_patch(x), x.shape[-2:])

    @property
    def _needs_log_weight(self) -> bool:
        return self.normalize and not self.sigmoid

    def _logit(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """What is exponentiated, for a map of `size` that is padded to a patch."""
        tokens = attend(self.embed(x), self.position, self.attention)
        return self._restore(tokens, size)

    def _restore(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """What is exponentiated, on the grid of `tokens` or on that of the map."""
        if not self._restore_commutes(tokens, size):
            tokens = upsample_nearest(tokens, size)
        logit = full_precision(self.restore(tokens))
        return logit.sigmoid() if self.sigmoid else logit

    def _pad_to_patch(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if self.patch_size > min(height, width) and not torch.compiler.is_compiling():
            warnings.warn(
                f"patch_size={self.patch_size} is larger than the {height}x{width} "
                "map, which the layer pads with zeros to one patch: at most "
                f"{min(height, width)} fits",
                stacklevel=4,
            )
        return pad_to(x, self.patch_size)

    def _restore_commutes(self, tokens: Tensor, size: tuple[int, int]) -> bool:
        """Whether restoring before the upsampling gives the same numbers."""
        norm = getattr(self.restore, "norm", None)
        by_pixel = type(self.restore.conv) is nn.Conv2d
        if by_pixel and (norm is None or not norm.training):
            return True
        # What looks at the whole map, batch statistics or a dynamic convolution,
        # sees the same where each patch covers as many pixels.
        batch, _, height, width = tokens.shape
        tiled = size[0] % height == 0 and size[1] % width == 0 and not size_is_free()
        # One value has no variance; the upsampled map has as many as it has pixels.
        return tiled and batch * height * width > 1

    def extra_repr(self) -> str:
        """The arguments that no submodule shows."""
        return (
            f"{super().extra_repr()}, patch_size={self.patch_size}, "
            f"num_heads={self.attention.num_heads}, exp={self.exp}, "
            f"sigmoid={self.sigmoid}"
        )
