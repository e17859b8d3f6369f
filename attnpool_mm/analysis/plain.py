"""The layers' plain formulas, as the papers' equations read.

Attention is `nn.MultiheadAttention`, which makes the N×N matrix; the weights are made
for every pixel; means are taken by `F.avg_pool2d`. What the layers do differently, to
save time and memory, is measured against these, and has to give the same numbers.
"""

from functools import singledispatch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import SPEM, DynamicConv2d
from ..pooling import (
    AttentionPool2d,
    DeformableSelfAttentivePool2d,
    GaussianPool2d,
    LocalImportancePool2d,
    MixedPool2d,
    SelfAttentivePool2d,
    WeightedPool2d,
)
from ..pooling.deformable import offset_by_pixel, sample_back
from ..pooling.weighted import pad_to, pooling_window
from ..utils.errors import ConfigError


@singledispatch
def plain_formula(layer: nn.Module, x: Tensor) -> Tensor:
    """What `layer` computes, written out; with its parameters, differentiable.

    In training the norms update their statistics, as in the layer. Gaussian pooling
    draws its noise.

    Args:
        layer: A learned pool, `SPEM` or `DynamicConv2d`.
        x: The input (B, C, H, W).

    Raises:
        ConfigError: There is no formula for such a layer.

    Example:
        >>> pool = SelfAttentivePool2d(16).eval()
        >>> x = torch.rand(2, 16, 8, 8)
        >>> torch.allclose(plain_formula(pool, x), pool(x), atol=1e-6)
        True
    """
    raise ConfigError(f"{type(layer).__name__} has no plain formula: a learned pool, "
                      "SPEM or DynamicConv2d is accepted")  # fmt: skip


@singledispatch
def plain_weight(pool: WeightedPool2d, x: Tensor) -> Tensor:
    """The weight of every pixel and channel of `x`, (B, C, H, W).

    Raises:
        ConfigError: There is no formula for such a pool.
    """
    raise ConfigError(f"{type(pool).__name__} has no plain formula of its weights")


@plain_formula.register
def _(pool: WeightedPool2d, x: Tensor) -> Tensor:
    weight = plain_weight(pool, x)
    window = pooling_window(x.shape[-2:], pool.stride)
    y = F.avg_pool2d(weight * x, window)
    return y / F.avg_pool2d(weight, window) if pool.normalize else y


@plain_formula.register
def _(pool: AttentionPool2d, x: Tensor) -> Tensor:
    return pool.project(pad_to(_attend(pool, pool.embed(x)), pool.stride))


@plain_formula.register
def _(pool: GaussianPool2d, x: Tensor) -> Tensor:
    window = pooling_window(x.shape[-2:], pool.stride)
    mean = F.avg_pool2d(x, window)
    size = [n * side for n, side in zip(mean.shape[-2:], window, strict=True)]
    difference = x[..., : size[0], : size[1]] - F.interpolate(mean, size=size)
    variance = F.avg_pool2d(difference.square(), window)
    hidden = pool.hidden(x.mean((2, 3), keepdim=True))
    shift = pool.mean(hidden)
    if pool.training:
        noise = torch.randn_like(mean)
        shift = shift + pool.deviation(hidden).sigmoid() * noise
    return mean + F.softplus(shift) * variance.clamp(min=pool.min_variance).sqrt()


@plain_formula.register
def _(layer: SPEM, x: Tensor) -> Tensor:
    top = layer.w2 * x.amax((2, 3), keepdim=True) + layer.b2
    bottom = layer.w2 * x.amin((2, 3), keepdim=True) + layer.b2
    lam = layer.p[0] ** 2 / (layer.p[0] ** 2 + layer.p[1] ** 2)
    mix = lam * top + (1 - lam) * bottom
    return x * (top + bottom).sigmoid() * (layer.w1 * mix + layer.b1).sigmoid()


@plain_formula.register
def _(conv: DynamicConv2d, x: Tensor) -> Tensor:
    mix = conv.attention(x, conv.temperature).to(x.dtype)
    weights = torch.einsum("bk,k...->b...", mix, conv.weight)
    biases = [None] * len(x) if conv.bias is None else mix @ conv.bias
    if conv.padding_mode != "zeros":
        raise ConfigError(
            f"padding_mode={conv.padding_mode!r}: the plain formula takes 'zeros'"
        )
    options = (conv.stride, conv.padding, conv.dilation, conv.groups)
    return torch.cat([
        F.conv2d(image[None], weight, bias, *options)
        for image, weight, bias in zip(x, weights, biases, strict=True)
    ])  # fmt: skip


@plain_weight.register
def _(pool: SelfAttentivePool2d, x: Tensor) -> Tensor:
    tokens = pool.embed(pad_to(x, pool.patch_size))
    logit = _restore(pool, tokens, x.shape[-2:])
    return logit.exp() if pool.exp else logit


@plain_weight.register
def _(pool: DeformableSelfAttentivePool2d, x: Tensor) -> Tensor:
    from mmcv.ops import modulated_deform_conv2d

    size, (conv, *rest) = x.shape[-2:], pool.embed
    x = pad_to(x, pool.patch_size).contiguous()
    grid = [side // pool.patch_size for side in x.shape[-2:]]
    offset, mask = (
        layer(x)[..., : grid[0], : grid[1]].contiguous()
        for layer in (pool.offset, pool.mask)
    )
    tokens = modulated_deform_conv2d(
        x, offset, mask.sigmoid(), conv.weight, conv.bias, conv.stride
    )
    for layer in rest:
        tokens = layer(tokens)
    moved = offset_by_pixel(offset, pool.patch_size, size)
    return sample_back(_restore(pool, tokens, size), moved).exp()


@plain_weight.register
def _(pool: LocalImportancePool2d, x: Tensor) -> Tensor:
    logit = pool.conv(x)[..., -x.shape[-2] :, -x.shape[-1] :]
    if pool.form == "sap":
        return pool.norm(logit).sigmoid().exp()
    variance, mean = torch.var_mean(logit, (2, 3), keepdim=True, correction=0)
    logit = (logit - mean) / (variance + pool.norm.eps).sqrt()
    scale, shift = (v[:, None, None] for v in (pool.norm.weight, pool.norm.bias))
    return (pool.max_logit * (logit * scale + shift).sigmoid()).exp()


@plain_weight.register
def _(pool: MixedPool2d, x: Tensor) -> Tensor:
    product = plain_weight(pool.pools[0], x)
    for part in pool.pools[1:]:
        product = product * plain_weight(part, x)
    return product


def _attend(pool: nn.Module, tokens: Tensor) -> Tensor:
    """Self-attention over the map `tokens` (B, d, h, w), with the N×N matrix."""
    grid = tokens.shape[-2:]
    if pool.position is not None:
        tokens = tokens + pool.position(*grid)
    tokens = tokens.flatten(2).transpose(1, 2)
    attended, _ = nn.MultiheadAttention.forward(
        pool.attention, tokens, tokens, tokens, average_attn_weights=False
    )
    return attended.transpose(1, 2).unflatten(2, grid)


def _restore(pool: SelfAttentivePool2d, tokens: Tensor, size: torch.Size) -> Tensor:
    """What the weights are before the exponential, at full resolution."""
    logit = pool.restore(F.interpolate(_attend(pool, tokens), size=tuple(size)))
    return logit.sigmoid() if pool.sigmoid else logit
