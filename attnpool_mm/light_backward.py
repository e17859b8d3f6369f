"""Functions with a backward pass of their own, lighter than PyTorch's."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def light_backward_applies(*inputs: Tensor) -> bool:
    """Whether a gradient may be asked of eager operators on the CPU.

    A compiler has a backward pass of its own, and no GPU's has been measured.

    Example:
        >>> light_backward_applies(torch.rand(2)), light_backward_applies(
        ...     torch.rand(2, requires_grad=True))
        (False, True)
    """
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and all(v.is_cpu for v in inputs)
        and torch.is_grad_enabled()
        and any(v.requires_grad for v in inputs)
    )


def with_light_backward(
    plain: Callable[..., tuple[Tensor, ...]],
    forward: Callable[..., tuple[Tensor, ...]],
    backward: Callable[..., Sequence[Tensor | None]],
    *inputs: Tensor,
) -> Tensor:
    """Call `forward`, whose gradient `backward` computes.

    Everything but the gradient of a loss comes from `plain`: gradients of gradients,
    forward-mode derivatives, `torch.vmap`, gradients for many losses at once.

    Args:
        plain: The function in PyTorch's operators. It returns the output and whatever
            else the backward pass needs, which gets no gradient.
        forward: The same, as fast as may be; new tensors, no views.
        backward: Gives the gradients of the inputs, None where there is none, for the
            output's gradient, whether each input needs one, the inputs, and what else
            `forward` returned.
        *inputs: All of them tensors.

    Returns:
        The output.

    Example:
        >>> square = lambda x: (x * x,)
        >>> back = lambda grad, needed, x: (2 * x * grad,)
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> with_light_backward(square, square, back, x).backward()
        >>> x.grad
        tensor(6.)
    """
    return _LightBackward.apply(plain, forward, backward, *inputs)[0]


def images_at_a_time(x: Tensor, values: int) -> list[slice]:
    """Cut the batch of `x` into parts of about `values` values, at least one image.

    Example:
        >>> images_at_a_time(torch.rand(3, 10), values=25)
        [slice(0, 2, None), slice(2, 4, None)]
    """
    size = max(1, values // max(1, x[:1].numel()))
    return [slice(i, i + size) for i in range(0, max(1, len(x)), size)]


class _LightBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        plain: Callable,
        forward: Callable,
        backward: Callable,
        *inputs: Tensor,
    ) -> tuple[Tensor, ...]:
        return forward(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
        ctx.plain, _, ctx.light, *tensors = inputs
        others = output[1:]  # not the output itself, which may be changed in place
        ctx.inputs, ctx.others = len(tensors), len(others)
        ctx.mark_non_differentiable(*others)
        ctx.set_materialize_grads(False)  # no zeros as the gradients of others
        ctx.save_for_backward(*tensors, *others)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * (3 + ctx.inputs)
        many = torch._C._functorch.is_legacy_batchedtensor(grad)  # is_grads_batched
        if many or torch.is_grad_enabled():  # for a gradient of this gradient
            inputs = ctx.saved_tensors[: ctx.inputs]
            grads = torch.func.vjp(_output_of(ctx.plain), *inputs)[1](grad)
        else:
            grads = ctx.light(grad, ctx.needs_input_grad[3:], *ctx.saved_tensors)
        return None, None, None, *grads

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        tangents = tuple(
            torch.zeros_like(v) if t is None else t
            for v, t in zip(inputs, tangents[3:], strict=True)
        )
        # The derivative of the gradient, which is linear, is the directional one.
        y, pull_back = torch.func.vjp(_output_of(ctx.plain), *inputs)
        return torch.func.vjp(pull_back, y)[1](tangents)[0], *[None] * ctx.others

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple,
        plain: Callable,
        forward: Callable,
        backward: Callable,
        *inputs: Tensor,
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        output = torch.vmap(plain, in_dims[3:])(*inputs)
        return output, (0,) * len(output)


def _output_of(plain: Callable[..., tuple[Tensor, ...]]) -> Callable[..., Tensor]:
    return lambda *inputs: plain(*inputs)[0]
