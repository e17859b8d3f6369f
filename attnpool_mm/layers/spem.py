"""Self-adaptive pooling enhanced attention (SPEM): attention over channels."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from ..registry import MODELS
from ..utils.checks import check_choice, check_int, check_number

PIXELS = (2, 3)
VALUES_AT_A_TIME = 2**18  # 1 MB in float32, which a core's cache holds
POOLINGS = ("adaptive", "max", "min", "avg")


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

    With another `pooling` than 'adaptive', one value s of a map, its largest, smallest
    or mean, stands for both of them, and there is neither `p` nor λ nor a penalty:

    .. math::
        y = x · sigmoid(2 (w_2 s + b_2)) · sigmoid(w_1 (w_2 s + b_2) + b_1)

    It is for the question whether adapting λ helps. All of them start as the same
    function, and differ in what is pooled alone. These formulas are a choice of this
    package: the paper compares the maximum, the minimum and fixed mixtures of them with
    the mean as the pooling of other attention layers. They train by PyTorch's own
    gradient, 'adaptive' by a faster one (docs/speed.md).

    In MMDetection's ResNet of bottlenecks (depth 50 or more) it is a plugin:
    `plugins=[dict(cfg=dict(type='attnpool_mm.SPEM'), position='after_conv3')]`.
    MMDetection's basic block (depth 18 and 34) takes no plugins, and fails with
    "Not implemented yet."; this package's backbones have it in both kinds of block,
    as `attention_cfg=dict(type='SPEM')`.

    Args:
        in_channels (int): Channels C of the input, and of the output.
        alpha (float): Factor α of the penalty; 0 for none. Default: 0.1.
        pooling (str): 'adaptive' is SPEM; 'max', 'min' or 'avg' pools that alone.
            Default: 'adaptive'.

    Raises:
        ConfigError: `in_channels` is not a positive integer, `alpha` is negative or no
            finite number, or `pooling` is another word.

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

    def __init__(self, in_channels: int, alpha: float = 0.1, pooling: str = "adaptive"):
        super().__init__()
        self.in_channels = check_int("in_channels", in_channels)
        self.alpha = float(check_number("alpha", alpha, minimum=0))
        self.pooling = check_choice("pooling", pooling, POOLINGS)
        shape = (1, in_channels, 1, 1)
        self.w1 = nn.Parameter(torch.zeros(shape))
        self.b1 = nn.Parameter(torch.full(shape, -1.0))
        self.w2 = nn.Parameter(torch.zeros(shape))
        self.b2 = nn.Parameter(torch.full(shape, -1.0))
        adaptive = pooling == "adaptive"
        self.register_parameter(
            "p", nn.Parameter(torch.full((2,), 0.5)) if adaptive else None
        )

    @property
    def lam(self) -> Tensor | None:
        """λ in [0, 1], a scalar, differentiable; 1 is all maximum, 0 all minimum.

        None where it is not learned: where `pooling` is not 'adaptive'.
        """
        if self.p is None:
            return None
        p = self.p.to(_at_least_float32(self.p))
        # λ does not change with the length of p, whose squares would underflow.
        length = p.detach().abs().amax()
        zero = length < torch.finfo(p.dtype).tiny
        square = (p / length.masked_fill(zero, 1) + zero).square()
        return square[0] / square.sum()

    def penalty(self) -> Tensor:
        """The penalty before its factor α, p0² + p1², a scalar, differentiable.

        0 without `p`.
        """
        if self.p is None:
            return self.w1.new_zeros(())
        return self.p.square().sum()

    def forward(self, x: Tensor) -> Tensor:
        """Weight the channels of (B, C, H, W); data type and memory format stay."""
        parameters = (self.w1, self.b1, self.w2, self.b2)
        if self.p is None:
            s = _pool(x, self.pooling)
            return x * _gate(s, s, *parameters).to(x.dtype)
        inputs = (x, *parameters, self.lam)
        if _trains_on_cpu(*inputs):
            return _Reweight.apply(*inputs)
        return _reweight(*inputs)[0]

    def extra_repr(self) -> str:
        """The arguments."""
        if self.p is None:
            return f"{self.in_channels}, pooling={self.pooling!r}"
        return f"{self.in_channels}, alpha={self.alpha}"


def _at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _reweight(x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The output, and the largest and the smallest value of each map."""
    # Two reductions: torch.aminmax is many times slower on the CPU.
    high, low = x.amax(PIXELS, keepdim=True), x.amin(PIXELS, keepdim=True)
    return x * _gate(high, low, *parameters).to(x.dtype), high, low


def _pool(x: Tensor, pooling: str) -> Tensor:
    """The largest value, the smallest one or the mean of each map (B, C, 1, 1)."""
    if pooling == "avg":
        return x.mean(PIXELS, keepdim=True, dtype=_at_least_float32(x))
    pool = x.amax if pooling == "max" else x.amin
    return pool(PIXELS, keepdim=True)


def _gate(high: Tensor, low: Tensor, *parameters: Tensor) -> Tensor:
    """The factor of each map (B, C, 1, 1), in float32 at least.

    The last of `parameters` is λ; without it, `high` is mixed alone.
    """
    dtype = _at_least_float32(high)
    high, low, w1, b1, w2, b2, *lam = (v.to(dtype) for v in (high, low, *parameters))
    top, bottom = w2 * high + b2, w2 * low + b2
    mix = lam[0] * top + (1 - lam[0]) * bottom if lam else top
    return (top + bottom).sigmoid() * (w1 * mix + b1).sigmoid()


class _Reweight(torch.autograd.Function):
    """`_reweight` with a backward pass a few images at a time.

    PyTorch's own goes over the maps some twenty times, most of it into new memory: a
    training step of a ResNet-164 takes a sixth longer with it (docs/speed.md).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        y, high, low = _reweight(x, *parameters)
        ctx.save_for_backward(x, *parameters, high, low)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, high, low = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a gradient of this gradient
            needed = [v for v, n in zip(inputs, ctx.needs_input_grad, strict=True) if n]
            grads = iter(
                torch.autograd.grad(
                    _reweight(*inputs)[0], needed, grad, create_graph=True
                )
            )
            return tuple(next(grads) if n else None for n in ctx.needs_input_grad)
        x, *parameters = inputs
        with torch.enable_grad():
            leaves = [v.detach().requires_grad_() for v in (high, low, *parameters)]
            gate = _gate(*leaves)
        size = max(1, VALUES_AT_A_TIME // x[:1].numel())
        parts = [slice(i, i + size) for i in range(0, len(x), size)]
        grad_gate = [(x[part] * grad[part]).sum(PIXELS, keepdim=True) for part in parts]
        grad_gate = torch.cat(grad_gate).to(gate.dtype)
        of_high, of_low, *grads = torch.autograd.grad(gate, leaves, grad_gate)
        grad_x = grad * gate.detach().to(x.dtype)
        for part in parts:
            for extreme, share in ((high, of_high), (low, of_low)):
                # As 0 and 1 in the type of x: bool is slow to compare into and sum.
                equal = x[part].clone().eq_(extreme[part])
                count = equal.sum(PIXELS, keepdim=True)
                grad_x[part].addcmul_(equal, (share[part] / count).to(x.dtype))
        return grad_x, *grads


def _trains_on_cpu(x: Tensor, *parameters: Tensor) -> bool:
    """Whether a plain gradient of large maps on a CPU may be asked for."""
    inputs = (x, *parameters)
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return (
        x.is_cpu
        and x.dtype in (torch.float32, torch.float64)
        and x.numel() >= VALUES_AT_A_TIME
        and torch.is_grad_enabled()
        and any(v.requires_grad for v in inputs)
        and not torch._C._are_functorch_transforms_active()
        and all(unpack_dual(v).tangent is None for v in inputs)
        and type(x) in (Tensor, nn.Parameter)  # no tensor without values
    )


def spem_layers(model: nn.Module) -> Iterator[tuple[str, SPEM]]:
    """Find every SPEM in a network, shared ones once.

    Args:
        model (nn.Module): The network.

    Yields:
        The name of a layer, and the layer.

    Example:
        >>> [name for name, _ in spem_layers(nn.Sequential(nn.ReLU(), SPEM(8)))]
        ['1']
    """
    for name, module in model.named_modules():
        if isinstance(module, SPEM):
            yield name, module


def spem_penalty(model: nn.Module) -> Tensor:
    r"""The part of the loss that SPEM adds, :math:`Σ α (p_0^2 + p_1^2)`.

    For training loops of your own; under OpenMMLab `SPEMOptimWrapperConstructor`
    does the same.

    Args:
        model (nn.Module): Any module; its SPEM layers with a `p` are counted, 0 where
            it has none.

    Returns:
        A scalar, differentiable.

    Example:
        >>> model = nn.Sequential(SPEM(8), SPEM(8, alpha=0.2))
        >>> loss = model(torch.rand(1, 8, 4, 4)).mean() + spem_penalty(model)
        >>> round(spem_penalty(model).item(), 6)
        0.15
    """
    layers = [layer for _, layer in spem_layers(model) if layer.p is not None]
    if not layers:
        return torch.zeros(())
    p = torch.stack([layer.p for layer in layers])
    alpha = p.new_tensor([layer.alpha for layer in layers])
    return (alpha * p.square().sum(1)).sum()
