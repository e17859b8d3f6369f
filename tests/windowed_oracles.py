"""Oracles of the pools that look at a window alone."""

import math

import torch
import torch.nn.functional as F


def max_pool(pool, x):
    """Y of `MaxPool2d` with a kernel of the stride."""
    rows, columns = (min(pool.stride, side) for side in x.shape[2:])
    windows = x.unfold(2, rows, rows).unfold(3, columns, columns)
    return windows.flatten(4).max(4).values


def adaptive_exponential_weight(pool, x):
    """W of `AdaptiveExponentialPool2d`, window by window; 1 beyond the windows."""
    rows, columns = (min(pool.stride, side) for side in x.shape[2:])
    grid = [x.shape[2] // rows, x.shape[3] // columns]
    beta = 1 / (1 + torch.exp(-pool.beta_logit))
    beta = F.interpolate(beta, grid, mode="bilinear")[0, 0]
    weight = torch.ones_like(x)
    for i in range(grid[0]):
        for j in range(grid[1]):
            window = (
                ...,
                slice(i * rows, (i + 1) * rows),
                slice(j * columns, (j + 1) * columns),
            )
            part = x[window].flatten(2)
            mean = part.mean(2, keepdim=True)
            likeness = 2 * (part * mean).abs() / (part**2 + mean**2)
            mixed = beta[i, j] * likeness.softmax(2) + (1 - beta[i, j]) * part.softmax(
                2
            )
            weight[window] = rows * columns * mixed.view_as(x[window])
    return weight


def reflect(place, length):
    """The pixel that is seen at `place`, of a line between two mirrors."""
    if length == 1:
        return 0
    while not 0 <= place < length:
        place = -place if place < 0 else 2 * (length - 1) - place
    return place


def shares_of_pixels(pool, length):
    """For each output of `BlurPool2d` on a line, what each input contributes."""
    extra = pool.kernel_size - 1
    outputs = []
    for centre in range(0, length, pool.stride):
        shares = [0.0] * length
        for k in range(pool.kernel_size):
            place = centre - extra // 2 + k
            if pool.padding_mode == "reflect":
                place = reflect(place, length)
            if 0 <= place < length:
                shares[place] += math.comb(extra, k) / 2**extra
        outputs.append(shares)
    return outputs


def blur_pool(pool, x):
    """Y of `BlurPool2d`."""
    rows, columns = (x.new_tensor(shares_of_pixels(pool, n)) for n in x.shape[2:])
    return torch.einsum("bchw,ih,jw->bcij", x, rows, columns)
