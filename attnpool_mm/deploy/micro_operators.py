"""PyTorch's operators in the words that TensorFlow Lite Micro has.

What litert-torch makes of these operators, TensorFlow Lite Micro lacks, or it fails.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Softplus without a choice between two: TensorFlow Lite Micro has no SELECT."""
    x = beta * x
    return (x.relu() + (-x.abs()).exp().log1p()) / beta


def _clamp(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """Between 0 and 1, as in `HSigmoid`: TensorFlow Lite Micro has no RELU_0_TO_1."""
    return F.relu6(6 * x) / 6 if (min, max) == (0, 1) else NotImplemented


def _gather(x: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """A gather of the same places in every row of one image, as a look-up of columns.

    LiteRT's gather wraps negative places round, by a SELECT_V2 of integers.
    """
    alike = x.dim() == 3 and dim == 2 and x.shape[0] == 1 and index.stride(1) == 0
    if not alike:
        return NotImplemented
    return F.embedding(index[0, 0], x[0].t()).t()[None]


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """A 1×1 convolution of one pixel, as a linear layer.

    LiteRT's converter makes a product of it where the pixel was a token before, and
    refuses its own product for the number of its dimensions.
    """
    one = x.shape[2:] == weight.shape[2:] == (1, 1) and groups == 1
    if not one or max(padding) > 0:
        return NotImplemented
    return F.linear(x[..., 0, 0], weight[..., 0, 0], bias)[..., None, None]


def _attend(
    query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    """Attention to one token, whose share is 1."""
    if key.shape[-2] != 1:
        return NotImplemented
    return value.expand(*query.shape[:-1], value.shape[-1])


def _softmax(x: Tensor, dim: int, *args: Any, **kwargs: Any) -> Tensor:
    """The softmax of one value: LiteRT makes of it a difference that is always 0."""
    return torch.ones_like(x) if x.shape[dim] == 1 else NotImplemented


def _avg_pool2d(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of what is inside the map, as the mean of a padded map times a constant.

    LiteRT's converter fails where windows reach outside and only the inside counts. It
    has an operator for it at stride 1, and PyTorch's default counts the padding.
    """
    stride = list(stride) or kernel_size
    if count_include_pad or divisor_override or max(stride) == 1:
        return NotImplemented
    pads, shares = [], []
    for side, kernel, step, before in zip(
        x.shape[2:], kernel_size, stride, padding, strict=True
    ):
        count = _windows(side, kernel, step, before, ceil_mode)
        pads = [before, max(0, (count - 1) * step + kernel - before - side), *pads]
        starts = step * torch.arange(count, dtype=x.dtype) - before
        inside = (starts + kernel).clamp(max=side) - starts.clamp(min=0)
        shares.append(kernel / inside)
    if not any(pads):
        return F.avg_pool2d(x, kernel_size, stride)
    mean = F.avg_pool2d(F.pad(x, pads), kernel_size, stride)
    return mean * (shares[0][:, None] * shares[1])


def _windows(side: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """Pooling windows along a side."""
    room = side + 2 * padding - kernel
    count = (room + stride - 1 if ceil_mode else room) // stride + 1
    # PyTorch leaves out one that would start in the padding after the side.
    return count - (ceil_mode and (count - 1) * stride >= side + padding)


DECOMPOSITIONS = {
    torch.ops.aten.avg_pool2d.default: _avg_pool2d,
    torch.ops.aten.conv2d.default: _conv2d,
    torch.ops.aten.scaled_dot_product_attention.default: _attend,
    torch.ops.aten.softmax.int: _softmax,
    torch.ops.aten.softplus.default: _softplus,
    torch.ops.aten.clamp.default: _clamp,
    torch.ops.aten.gather.default: _gather,
}
