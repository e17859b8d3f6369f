"""The pools written out from their formulas, with loops and the N×N matrix.

And what a comparison with them needs.
"""

import math

import torch
import torch.nn.functional as F
from windowed_oracles import adaptive_exponential_weight, blur_pool, max_pool

from attnpool_mm.layers import DynamicConv2d
from attnpool_mm.pooling import (
    AdaptiveExponentialPool2d,
    AttentionPool2d,
    AvgPool2d,
    BlurPool2d,
    DeformableSelfAttentivePool2d,
    GaussianPool2d,
    LocalImportancePool2d,
    MaxPool2d,
    MixedPool2d,
    SoftPool2d,
    StridedConv2d,
)

CONDITIONS = []  # by how much each norm has multiplied the roundings of its input


def randomized(pool, std=0.5):
    """`pool` with every parameter and statistic away from its initial value."""
    for parameter in pool.parameters():
        torch.nn.init.normal_(parameter, std=std)
    for module in pool.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return pool


def assert_equals_formula(pool, x):
    """Value and gradients of `pool`, in float64, are those of the formula."""
    x = x.requires_grad_()
    leaves = [x, *pool.parameters()]
    y, expected = pool(x), pool_of(pool, x)
    torch.testing.assert_close(y, expected, atol=1e-10, rtol=1e-8)
    seed = torch.randn_like(y)
    scale = max(1.0, expected.abs().max().item())  # rounding grows with the weights
    for actual, wanted in zip(
        torch.autograd.grad(y, leaves, seed, materialize_grads=True),
        torch.autograd.grad(expected, leaves, seed, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(actual, wanted, atol=1e-8 * scale, rtol=1e-6)


def condition_of(pool, x):
    """By how much the norms of `pool` multiply the roundings of what they get."""
    CONDITIONS.clear()
    pool_of(pool, x)
    return math.prod(CONDITIONS)


def normalized(x, mean, var, eps):
    deviation = (var + eps).sqrt()
    CONDITIONS.append(max(1.0, (x.abs() / deviation).max().item()))
    return (x - mean) / deviation


def batch_norm(x, norm):
    if norm is None:
        return x
    if norm.training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    else:
        mean, var = norm.running_mean, norm.running_var
    mean, var, scale, shift = (
        v[None, :, None, None] for v in (mean, var, norm.weight, norm.bias)
    )
    return normalized(x, mean, var, norm.eps) * scale + shift


def nearest(x, height, width):
    rows = [i * x.shape[2] // height for i in range(height)]
    columns = [j * x.shape[3] // width for j in range(width)]
    return x[:, :, rows][:, :, :, columns]


def kernels(conv, x):
    """The kernel and the bias of each image: (B, d, C, k, k) and (B, d)."""
    no_bias = conv.weight.new_zeros(conv.out_channels)
    if not isinstance(conv, DynamicConv2d):
        bias = no_bias if conv.bias is None else conv.bias
        return (t.expand(len(x), *t.shape) for t in (conv.weight, bias))
    fc1, fc2 = conv.attention.fc1, conv.attention.fc2
    hidden = (x.mean((2, 3)) @ fc1.weight[:, :, 0, 0].t()).clamp(min=0)
    mix = (hidden @ fc2.weight[:, :, 0, 0].t() + fc2.bias) / conv.temperature
    mix = mix.exp() / mix.exp().sum(1, keepdim=True)
    weight = torch.einsum("bk,kdcij->bdcij", mix, conv.weight)
    if conv.bias is None:
        return weight, no_bias.expand(len(x), -1)
    return weight, torch.einsum("bk,kd->bd", mix, conv.bias)


def pad_to(x, side):
    """Zeros below and to the right, up to `side` pixels."""
    below, right = (max(0, side - length) for length in x.shape[2:])
    x = torch.cat([x, x.new_zeros(*x.shape[:2], below, x.shape[3])], 2)
    return torch.cat([x, x.new_zeros(*x.shape[:3], right)], 3)


def patch_embedding(x, conv, patch):
    """The convolution with kernel = stride = patch, one patch at a time."""
    x = pad_to(x, patch)
    weight, bias = kernels(conv, x)
    rows, columns = x.shape[2] // patch, x.shape[3] // patch
    out = [
        torch.einsum(
            "bcij,bdcij->bd",
            x[:, :, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch],
            weight,
        )
        for i in range(rows)
        for j in range(columns)
    ]
    out = torch.stack(out, 2).unflatten(2, (rows, columns))
    return out + bias[:, :, None, None]


def multi_head_attention(tokens, attention):
    """softmax(q·kᵀ/√d)·v for each head, with the N×N matrix; (B, N, d)."""
    width, heads = tokens.shape[2], attention.num_heads
    weights = attention.in_proj_weight.split(width)
    biases = attention.in_proj_bias.split(width)
    query, key, value = (
        torch.einsum("bnd,ed->bne", tokens, w) + b
        for w, b in zip(weights, biases, strict=True)
    )
    outs = []
    for q, k, v in zip(
        query.chunk(heads, 2), key.chunk(heads, 2), value.chunk(heads, 2), strict=True
    ):
        scores = torch.einsum("bnd,bmd->bnm", q, k) / (width // heads) ** 0.5
        outs.append(torch.einsum("bnm,bmd->bnd", scores.softmax(2), v))
    proj = attention.out_proj
    return torch.einsum("bnd,ed->bne", torch.cat(outs, 2), proj.weight) + proj.bias


def position(table, height, width):
    """Position (i, j) = concat(column[j], row[i]) for maps within the tables."""
    cells = [
        torch.cat([table.column[j], table.row[i]])
        for i in range(height)
        for j in range(width)
    ]
    return torch.stack(cells, 1).unflatten(1, (height, width))


def windows_of(length, stride, window=None, padding=0):
    """The pixels of each window along an axis; those outside the map do not count."""
    window = min(stride if window is None else window, length + 2 * padding)
    starts = range(-padding, length + padding - window + 1, stride)
    return [slice(max(0, start), start + window) for start in starts]


def pool_windows(x, w, stride, normalize, window=None, padding=0):
    """Y = mean(w·x) / mean(w), window by window."""
    rows, columns = (windows_of(side, stride, window, padding) for side in x.shape[2:])
    out = []
    for row in rows:
        for column in columns:
            y = (x[..., row, column] * w[..., row, column]).mean((2, 3))
            out.append(y / w[..., row, column].mean((2, 3)) if normalize else y)
    return torch.stack(out, 2).unflatten(2, (len(rows), len(columns)))


def pooled(pool, x, w):
    """Y of a pool with the weights `w`."""
    return pool_windows(x, w, pool.stride, pool.normalize, pool.window, pool.padding)


def attend(x, position_table, attention):
    """Self-attention over the pixels of a map, with positions."""
    if position_table is not None:
        x = x + position(position_table, *x.shape[2:])
    tokens = multi_head_attention(x.flatten(2).transpose(1, 2), attention)
    return tokens.transpose(1, 2).unflatten(2, x.shape[2:])


def restored(pool, e, size):
    """What attention over the embedded patches `e` says of each pixel."""
    e = batch_norm(e, getattr(pool.embed, "norm", None)).clamp(min=0)
    up = nearest(attend(e, pool.position, pool.attention), *size)
    weight, bias = kernels(pool.restore.conv, up)
    logit = torch.einsum("bdhw,bcd->bchw", up, weight[..., 0, 0])
    logit = logit + bias[:, :, None, None]
    logit = batch_norm(logit, getattr(pool.restore, "norm", None))
    return 1 / (1 + torch.exp(-logit)) if pool.sigmoid else logit


def self_attentive_weight(pool, x):
    """W of `SelfAttentivePool2d`, at full resolution."""
    e = patch_embedding(x, pool.embed.conv, pool.patch_size)
    logit = restored(pool, e, x.shape[2:])
    return torch.exp(logit) if pool.exp else logit


def self_attentive_pool(pool, x):
    """Y of `SelfAttentivePool2d`."""
    return pooled(pool, x, self_attentive_weight(pool, x))


def convolution(x, conv):
    """A convolution at stride 1; an even kernel looks right and below."""
    weight, bias = kernels(conv, x)
    extra = conv.kernel_size[0] - 1
    sides = (extra // 2, extra - extra // 2) * 2
    windows = F.pad(x, sides).unfold(2, extra + 1, 1).unfold(3, extra + 1, 1)
    return torch.einsum("bchwij,bdcij->bdhw", windows, weight) + bias[:, :, None, None]


def instance_norm(x, norm):
    mean = x.mean((2, 3), keepdim=True)
    var = ((x - mean) ** 2).mean((2, 3), keepdim=True)
    scale, shift = norm.weight[:, None, None], norm.bias[:, None, None]
    return normalized(x, mean, var, norm.eps) * scale + shift


def local_importance_weight(pool, x):
    """W of `LocalImportancePool2d`."""
    norm = batch_norm if pool.form == "sap" else instance_norm
    if pool.hidden is not None:
        x = norm(convolution(x, pool.hidden.conv1), pool.hidden.norm1).clamp(min=0)
        x = norm(convolution(x, pool.hidden.conv2), pool.hidden.norm2).clamp(min=0)
    logit = norm(convolution(x, pool.conv), pool.norm)
    return torch.exp((1 if pool.form == "sap" else 12) / (1 + torch.exp(-logit)))


def bilinear(image, row, column):
    """`image` (C, H, W) at a real position, which is clamped to the image."""
    row = row.clamp(0, image.shape[1] - 1)
    column = column.clamp(0, image.shape[2] - 1)
    value = image.new_zeros(image.shape[0])
    top, left = int(row.floor()), int(column.floor())
    for i in (top, top + 1):
        for j in (left, left + 1):
            share = (1 - (row - i).abs()) * (1 - (column - j).abs())
            if i < image.shape[1] and j < image.shape[2]:
                value = value + share * image[:, i, j]
    return value


def deformable_weight(pool, x):
    """W of `DeformableSelfAttentivePool2d`, one pixel of one image at a time."""
    p, size = pool.patch_size, x.shape[2:]
    padded = pad_to(x, p)
    offset, mask = (
        torch.stack(
            [
                F.conv2d(image[None], w, b, stride=p, padding=1)[0]
                for image, w, b in zip(padded, *kernels(layer, padded), strict=True)
            ]
        )
        for layer in (pool.offset, pool.mask)
    )
    mask = 1 / (1 + torch.exp(-mask))
    rows, columns = padded.shape[2] // p, padded.shape[3] // p
    moved = [[[None] * columns * p for _ in range(rows * p)] for _ in padded]
    for b, image in enumerate(padded):
        for i in range(rows * p):
            for j in range(columns * p):
                k = i % p * p + j % p  # the pixel in its patch
                down, right = (offset[b, k + n, i // p, j // p] for n in (0, p * p))
                value = bilinear(image, i + down, j + right)
                moved[b][i][j] = mask[b, k, i // p, j // p] * value
    moved = torch.stack([torch.stack([torch.stack(row) for row in m]) for m in moved])
    e = patch_embedding(moved.permute(0, 3, 1, 2), pool.embed.conv, p)
    weight = torch.exp(restored(pool, e, size))

    sampled = []
    for b, image in enumerate(weight):
        for i in range(size[0]):
            for j in range(size[1]):
                down = right = x.new_zeros(())
                if i < rows * p and j < columns * p:
                    k = i % p * p + j % p
                    down, right = (offset[b, k + n, i // p, j // p] for n in (0, p * p))
                sampled.append(bilinear(image, i - down, j - right))
    return torch.stack(sampled).unflatten(0, (len(x), *size)).permute(0, 3, 1, 2)


def weight_of(pool, x):
    """W of any pool that is a weighted mean."""
    if isinstance(pool, MixedPool2d):
        return torch.stack([weight_of(part, x) for part in pool.pools]).prod(0)
    if isinstance(pool, SoftPool2d):
        return torch.exp(x)
    if isinstance(pool, AdaptiveExponentialPool2d):
        return adaptive_exponential_weight(pool, x)
    if isinstance(pool, LocalImportancePool2d):
        return local_importance_weight(pool, x)
    if isinstance(pool, DeformableSelfAttentivePool2d):
        return deformable_weight(pool, x)
    return self_attentive_weight(pool, x)


def attention_pool(pool, x):
    """Y of `AttentionPool2d`."""
    e = batch_norm(patch_embedding(x, pool.embed.conv, 1), pool.embed.norm)
    attended = attend(e.clamp(min=0), pool.position, pool.attention)
    y = patch_embedding(attended, pool.project.conv, pool.stride)
    return batch_norm(y, pool.project.norm).clamp(min=0)


def gaussian_parameters(pool, x):
    """μ₀ and σ₀ of the windows, μ and σ of the channels, of `GaussianPool2d`."""
    stride = [min(pool.stride, side) for side in x.shape[2:]]
    rows, columns = (side // s for side, s in zip(x.shape[2:], stride, strict=True))
    windows = F.unfold(x, stride, stride=stride).unflatten(1, (x.shape[1], -1))
    mean = windows.mean(2)
    variance = ((windows - mean[:, :, None]) ** 2).mean(2).clamp(min=1e-6)
    mean, variance = (t.unflatten(2, (rows, columns)) for t in (mean, variance))

    def layer(part, x):
        return batch_norm(patch_embedding(x, part.conv, 1), part.norm)

    z = layer(pool.hidden, x.mean((2, 3), keepdim=True)).clamp(min=0)
    deviation = 1 / (1 + torch.exp(-layer(pool.deviation, z)))
    return mean, variance.sqrt(), layer(pool.mean, z), deviation


def gaussian_pool(pool, x, noise=0.0):
    """Y of `GaussianPool2d`."""
    mean, deviation, shift, spread = gaussian_parameters(pool, x)
    return mean + torch.log1p(torch.exp(shift + spread * noise)) * deviation


def strided_convolution(pool, x):
    """Y of `StridedConv2d`."""
    side = pool.conv.kernel_size[0]
    padded = F.pad(x, (side // 2,) * 4)
    windows = padded.unfold(2, side, pool.stride).unfold(3, side, pool.stride)
    y = torch.einsum("bchwij,dcij->bdhw", windows, pool.conv.weight)
    return batch_norm(y, pool.norm).clamp(min=0)


def pool_of(pool, x, noise=0.0):
    """Y of any pool; `noise` is Gaussian pooling's."""
    if isinstance(pool, AttentionPool2d):
        return attention_pool(pool, x)
    if isinstance(pool, GaussianPool2d):
        return gaussian_pool(pool, x, noise)
    if isinstance(pool, StridedConv2d):
        return strided_convolution(pool, x)
    if isinstance(pool, BlurPool2d):
        return blur_pool(pool, x)
    if isinstance(pool, AvgPool2d):
        return pool_windows(x, torch.ones_like(x), pool.stride, False)
    if isinstance(pool, MaxPool2d):
        return max_pool(pool, x)
    return pooled(pool, x, weight_of(pool, x))


def spem(x, w1, b1, w2, b2, p):
    """Y of `SPEM`; `w1` … `b2` hold one value a channel in any shape."""
    w1, b1, w2, b2 = (v.reshape(1, -1, 1, 1) for v in (w1, b1, w2, b2))
    extremes = []
    for sign in (1, -1):
        flat = sign * x.flatten(2)
        chosen = (flat == flat.sort(2, descending=True).values[:, :, :1]).to(x.dtype)
        value = sign * (flat * chosen).sum(2) / chosen.sum(2)  # ties share
        extremes.append(w2 * value[:, :, None, None] + b2)
    top, bottom = extremes
    lam = p[0] ** 2 / (p[0] ** 2 + p[1] ** 2)
    mix = lam * top + (1 - lam) * bottom
    inner = 1 / (1 + torch.exp(-(top + bottom)))
    return x * inner / (1 + torch.exp(-(w1 * mix + b1)))
