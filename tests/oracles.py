"""The pools written out from their formulas, with loops and the N×N matrix."""

import torch


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
    return (x - mean) / (var + norm.eps).sqrt() * scale + shift


def nearest(x, height, width):
    rows = [i * x.shape[2] // height for i in range(height)]
    columns = [j * x.shape[3] // width for j in range(width)]
    return x[:, :, rows][:, :, :, columns]


def patch_embedding(x, conv, patch):
    """The convolution with kernel = stride = patch, one patch at a time."""
    pad = [max(0, patch - side) for side in x.shape[2:]]
    x = torch.cat([x, x.new_zeros(*x.shape[:2], pad[0], x.shape[3])], 2)
    x = torch.cat([x, x.new_zeros(*x.shape[:3], pad[1])], 3)
    rows, columns = x.shape[2] // patch, x.shape[3] // patch
    out = [
        torch.einsum(
            "bcij,dcij->bd",
            x[:, :, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch],
            conv.weight,
        )
        for i in range(rows)
        for j in range(columns)
    ]
    out = torch.stack(out, 2).unflatten(2, (rows, columns))
    return out + conv.bias[None, :, None, None]


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


def pool_windows(x, w, stride, normalize):
    """Y = mean(w·x) / mean(w), window by window."""
    sides = [min(stride, side) for side in x.shape[2:]]
    rows, columns = x.shape[2] // sides[0], x.shape[3] // sides[1]
    out = []
    for i in range(rows):
        for j in range(columns):
            window = (
                ...,
                slice(i * sides[0], (i + 1) * sides[0]),
                slice(j * sides[1], (j + 1) * sides[1]),
            )
            y = (x[window] * w[window]).mean((2, 3))
            out.append(y / w[window].mean((2, 3)) if normalize else y)
    return torch.stack(out, 2).unflatten(2, (rows, columns))


def self_attentive_weight(pool, x):
    """W of `SelfAttentivePool2d`, at full resolution."""
    height, width = x.shape[2:]
    e = patch_embedding(x, pool.embed.conv, pool.patch_size)
    e = batch_norm(e, getattr(pool.embed, "norm", None)).clamp(min=0)
    if pool.position is not None:
        e = e + position(pool.position, *e.shape[2:])
    tokens = multi_head_attention(e.flatten(2).transpose(1, 2), pool.attention)
    tokens = tokens.transpose(1, 2).unflatten(2, e.shape[2:])
    up = nearest(tokens, height, width)
    conv = pool.restore.conv
    logit = torch.einsum("bdhw,cd->bchw", up, conv.weight[:, :, 0, 0])
    logit = logit + conv.bias[None, :, None, None]
    logit = batch_norm(logit, getattr(pool.restore, "norm", None))
    if pool.sigmoid:
        logit = 1 / (1 + torch.exp(-logit))
    return torch.exp(logit) if pool.exp else logit


def self_attentive_pool(pool, x):
    """Y of `SelfAttentivePool2d`."""
    return pool_windows(x, self_attentive_weight(pool, x), pool.stride, pool.normalize)
