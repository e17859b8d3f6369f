"""Self-adaptive pooling enhanced attention (SPEM): attention over channels."""

from collections.abc import Iterator
from math import inf
from numbers import Real

import torch
from torch import Tensor, nn

from ..registry import MODELS
from ..utils.checks import check_int
from ..utils.errors import ConfigError


@MODELS.register_module()
class SPEM(nn.Module):
    r"""Channel attention from the largest and the smallest value of every map.

    It stands on a residual branch, after the last norm and before the sum:

    .. math::
        top &= w_2 \max_{HW}(x) + b_2, \quad bottom = w_2 \min_{HW}(x) + b_2 \\
        λ &= p_0^2 / (p_0^2 + p_1^2) \\
        y &= x · sigmoid(top + bottom) · sigmoid(w_1 (λ\,top + (1-λ)\,bottom) + b_1)

    λ, how much the maximum counts, is learned, one value a layer. It depends on the
    direction of `p` alone; :math:`α (p_0^2 + p_1^2)`, a part of the loss, holds the
    length. `SPEMOptimWrapperConstructor` adds that part as a weight decay of 2α
    under OpenMMLab, `spem_penalty` gives it to a loop of your own.

    Pixels that share the largest or the smallest value share its gradient. Where
    both of `p` are zero (below the smallest normal number), λ is 0.5.

    In MMDetection's ResNet of bottlenecks (depth 50 or more) it is a plugin:
    `plugins=[dict(cfg=dict(type='attnpool_mm.SPEM'), position='after_conv3')]`.
    MMDetection's basic block (depth 18 and 34) takes no plugins, and fails with
    "Not implemented yet."; this package's backbones have it in both kinds of block,
    as `attention_cfg=dict(type='SPEM')`.

    Args:
        in_channels: Channels C of the input, and of the output.
        alpha: Factor α of the penalty; 0 for none.

    Raises:
        ConfigError: `in_channels` is not a positive integer, or `alpha` is negative
            or no finite number.

    Source:
        "SPEM: Self-adaptive Pooling Enhanced Attention Module for Image
        Recognition", MMM 2023, arXiv 2208.10322.

    Example:
        >>> layer = SPEM(64)
        >>> layer(torch.rand(2, 64, 7, 7)).shape
        torch.Size([2, 64, 7, 7])
        >>> layer.lam.item(), layer.penalty().item()
        (0.5, 0.5)
    """

    def __init__(self, in_channels: int, alpha: float = 0.1):
        super().__init__()
        self.in_channels = check_int("in_channels", in_channels)
        if not isinstance(alpha, Real) or not 0 <= alpha < inf:
            raise ConfigError(f"alpha={alpha!r}: a number of at least 0 is accepted")
        self.alpha = float(alpha)
        shape = (1, in_channels, 1, 1)
        self.w1 = nn.Parameter(torch.zeros(shape))
        self.b1 = nn.Parameter(torch.full(shape, -1.0))
        self.w2 = nn.Parameter(torch.zeros(shape))
        self.b2 = nn.Parameter(torch.full(shape, -1.0))
        self.p = nn.Parameter(torch.full((2,), 0.5))

    @property
    def lam(self) -> Tensor:
        """λ in [0, 1], a scalar, differentiable; 1 is all maximum, 0 all minimum."""
        p = self.p.to(_at_least_float32(self.p))
        # λ does not change with the length of p, whose squares would underflow.
        length = p.detach().abs().amax()
        zero = length < torch.finfo(p.dtype).tiny
        square = (p / length.masked_fill(zero, 1) + zero).square()
        return square[0] / square.sum()

    def penalty(self) -> Tensor:
        """The penalty before its factor α, p0² + p1², a scalar, differentiable."""
        return self.p.square().sum()

    def forward(self, x: Tensor) -> Tensor:
        """Weight the channels of (B, C, H, W); data type and memory format stay."""
        dtype = _at_least_float32(x)
        # torch.aminmax does both, but many times slower on the CPU.
        high = x.amax((2, 3), keepdim=True).to(dtype)
        low = x.amin((2, 3), keepdim=True).to(dtype)
        w1, b1, w2, b2 = (v.to(dtype) for v in (self.w1, self.b1, self.w2, self.b2))
        top, bottom = w2 * high + b2, w2 * low + b2
        lam = self.lam
        mix = lam * top + (1 - lam) * bottom
        gate = (top + bottom).sigmoid() * (w1 * mix + b1).sigmoid()
        return x * gate.to(x.dtype)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.in_channels}, alpha={self.alpha}"


def _at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def spem_layers(model: nn.Module) -> Iterator[tuple[str, SPEM]]:
    """Yield the name and the layer of every SPEM in `model`, shared ones once."""
    for name, module in model.named_modules():
        if isinstance(module, SPEM):
            yield name, module


def spem_penalty(model: nn.Module) -> Tensor:
    r"""The part of the loss that SPEM adds, :math:`Σ α (p_0^2 + p_1^2)`.

    For training loops of your own; under OpenMMLab `SPEMOptimWrapperConstructor`
    does the same.

    Args:
        model: Any module; its SPEM layers are counted, 0 where it has none.

    Returns:
        A scalar, differentiable.

    Example:
        >>> model = nn.Sequential(SPEM(8), SPEM(8, alpha=0.2))
        >>> loss = model(torch.rand(1, 8, 4, 4)).mean() + spem_penalty(model)
        >>> round(spem_penalty(model).item(), 6)
        0.15
    """
    layers = [layer for _, layer in spem_layers(model)]
    if not layers:
        return torch.zeros(())
    p = torch.stack([layer.p for layer in layers])
    alpha = p.new_tensor([layer.alpha for layer in layers])
    return (alpha * p.square().sum(1)).sum()
