"""Layers as one operation each, while torch-pruning follows a network's channels.

It reads them off autograd's graph, in which it takes each operation for one that keeps
the channels. Inside of these layers that is wrong: there are reshapings and products
over channels, parameters that no layer of PyTorch's holds, and a branch that runs in
training alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import SPEM, DynamicConv2d
from ..pooling import (
    AdaptiveExponentialPool2d,
    DeformableSelfAttentivePool2d,
    GaussianPool2d,
    LearnedPosition2d,
    SelfAttention,
    SelfAttentivePool2d,
)


def _same_channels(layer: nn.Module, x: Tensor) -> Tensor:
    return x * 1


def _positions(layer: LearnedPosition2d, height: int, width: int) -> Tensor:
    channels = layer.column.shape[1] + layer.row.shape[1]
    return torch.zeros(channels, height, width, requires_grad=True) * 1


def _one_kernel(layer: DynamicConv2d, x: Tensor) -> Tensor:
    return layer._convolve(x, layer.weight.mean(0), None, layer.groups)


def _undeformed_weight(pool: DeformableSelfAttentivePool2d, x: Tensor) -> Tensor:
    """The weight of patches that stay in place, and a number of the two side branches.

    Their outputs are pixels of a patch, which have nothing to do with the channels.
    """
    aside = pool.offset(x).sum() * pool.mask(x).sum()
    return SelfAttentivePool2d.compute_weight(pool, x) * aside


METHODS = (
    (SelfAttention, "forward", _same_channels),
    (SPEM, "forward", _same_channels),
    (LearnedPosition2d, "forward", _positions),
    (DynamicConv2d, "forward", _one_kernel),
    (AdaptiveExponentialPool2d, "compute_weight", _same_channels),
    (DeformableSelfAttentivePool2d, "compute_weight", _undeformed_weight),
)


@contextmanager
def stand_ins(network: nn.Module) -> Iterator[None]:
    """Let layers of a network be what torch-pruning can follow.

    Args:
        network (nn.Module): The network, in evaluation mode.

    Example:
        >>> from attnpool_mm.pooling import SelfAttentivePool2d
        >>> pool = SelfAttentivePool2d(8)
        >>> with stand_ins(pool):
        ...     pool(torch.rand(1, 8, 4, 4)).shape
        torch.Size([1, 8, 2, 2])
    """
    before: list[tuple[nn.Module, dict[str, Any]]] = []
    for module in network.modules():
        own = vars(module)
        new = {
            name: partial(method, module)
            for kind, name, method in METHODS
            if isinstance(module, kind)
        }
        if isinstance(module, GaussianPool2d):
            new["training"] = True  # its norms are still in evaluation
        if own.get("with_cp"):  # what is computed twice has no graph
            new["with_cp"] = False
        before.append((module, {name: own.get(name) for name in new}))
        own.update(new)
    try:
        yield
    finally:
        for module, values in before:
            for name, value in values.items():
                if value is None:
                    del vars(module)[name]
                else:
                    vars(module)[name] = value
