"""The layers' plain formulas, as the papers' equations read.

Attention is `nn.MultiheadAttention`, which makes the N×N matrix; the weights are made
for every pixel; a dynamic convolution is a loop over the images. What the layers do
differently, to save time and memory, is measured against these, and has to give the
same numbers.
"""

from collections.abc import Callable
from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnpool_mm.layers import DynamicConv2d
from attnpool_mm.pooling import (
    AttentionPool2d,
    DeformableSelfAttentivePool2d,
    MixedPool2d,
    SelfAttentivePool2d,
    WeightedPool2d,
)
from attnpool_mm.pooling.weighted import pad_to, weighted_pool2d


def plain_formula(layer: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """What `layer` computes, written out; with its parameters, differentiable.

    In training the norms update their statistics, as in the layer.

    Args:
        layer: A learned pool, `SPEM` or `DynamicConv2d`.

    Returns:
        A function of the input (B, C, H, W); None where the layer itself is it.

    Example:
        >>> pool = SelfAttentivePool2d(16).eval()
        >>> x = torch.rand(2, 16, 8, 8)
        >>> torch.allclose(plain_formula(pool)(x), pool(x), atol=1e-6)
        True
    """
    if isinstance(layer, SelfAttentivePool2d | MixedPool2d):
        return partial(_weighted_pool, layer)
    if isinstance(layer, AttentionPool2d):
        return partial(_attention_pool, layer)
    if isinstance(layer, DynamicConv2d):
        return partial(_dynamic_convolution, layer)
    return None


def _weighted_pool(pool: WeightedPool2d, x: Tensor) -> Tensor:
    windows = pool.stride, pool.normalize, pool.window, pool.padding
    return weighted_pool2d(x, plain_weight(pool, x), *windows)


def plain_weight(pool: WeightedPool2d, x: Tensor) -> Tensor:
    """The weight of every pixel and channel of `x`, (B, C, H, W)."""
    if isinstance(pool, MixedPool2d):
        return reduce(torch.mul, (plain_weight(part, x) for part in pool.pools))
    if isinstance(pool, DeformableSelfAttentivePool2d):
        return _deformable_weight(pool, x)
    if isinstance(pool, SelfAttentivePool2d):
        tokens = pool.embed(pad_to(x, pool.patch_size))
        logit = _restore(pool, tokens, x.shape[-2:])
        return logit.exp() if pool.exp else logit
    return pool.compute_weight(x)


def _deformable_weight(pool: DeformableSelfAttentivePool2d, x: Tensor) -> Tensor:
    size, p = x.shape[-2:], pool.patch_size
    x = pad_to(x, p)
    rows, columns = (side // p for side in x.shape[-2:])
    offset, mask = (
        F.pixel_shuffle(layer(x)[..., :rows, :columns], p)
        for layer in (pool.offset, pool.mask)
    )
    tokens = pool.embed(_sample(x, offset) * mask.sigmoid())
    weight = _restore(pool, tokens, size).exp()
    offset = offset[..., : size[0], : size[1]]
    height, width = offset.shape[-2:]
    return _sample(weight, -F.pad(offset, (0, size[1] - width, 0, size[0] - height)))


def _sample(x: Tensor, offset: Tensor) -> Tensor:
    """`x` at its pixels + `offset` (B, 2, h, w), by PyTorch's own sampler."""
    size, grid = x.new_tensor(x.shape[-2:]), offset.shape[-2:]
    pixels = torch.stack(torch.meshgrid(*map(torch.arange, grid), indexing="ij"))
    # Its coordinates: pixel i of n lies at (2i + 1)/n − 1.
    position = (2 * (pixels.to(x) + offset) + 1).movedim(1, -1) / size - 1
    return F.grid_sample(
        x, position.flip(-1), padding_mode="border", align_corners=False
    )


def _restore(pool: SelfAttentivePool2d, tokens: Tensor, size: torch.Size) -> Tensor:
    """What the weights are before the exponential, at full resolution."""
    logit = pool.restore(F.interpolate(_attend(pool, tokens), size=tuple(size)))
    return logit.sigmoid() if pool.sigmoid else logit


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


def _attention_pool(pool: AttentionPool2d, x: Tensor) -> Tensor:
    return pool.project(pad_to(_attend(pool, pool.embed(x)), pool.stride))


def _dynamic_convolution(conv: DynamicConv2d, x: Tensor) -> Tensor:
    mix = conv.attention(x, conv.temperature).to(x.dtype)
    weights = torch.einsum("bk,k...->b...", mix, conv.weight)
    biases = [None] * len(x) if conv.bias is None else mix @ conv.bias
    options = (conv.stride, conv.padding, conv.dilation, conv.groups)
    images = zip(x, weights, biases, strict=True)
    return torch.cat([F.conv2d(i[None], w, b, *options) for i, w, b in images])
