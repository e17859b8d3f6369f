"""A network without values, which runs at any size for next to nothing."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import (
    conv_flop_count,
    register_flop_formula,
    sdpa_flop_count,
)

from .checks import check_shape
from .errors import ConfigError

Result = TypeVar("Result")
SDPA = nn.functional.scaled_dot_product_attention
# What PyTorch splits up, or cannot do without values, as one operator each.
_LIBRARY = torch.library.Library("attnpool_mm", "DEF")
_LIBRARY.define(
    "attention(Tensor query, Tensor key, Tensor value, Tensor? mask) -> Tensor"
)
_LIBRARY.define(
    "deformable_conv2d(Tensor x, Tensor offset, Tensor mask, Tensor weight, "
    "Tensor? bias, int[2] stride, int[2] padding, int[2] dilation) -> Tensor"
)


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None):
    # In the memory order of PyTorch's kernels: heads beside one another.
    *batch, heads, tokens, _ = (1,) * (4 - query.dim()) + query.shape
    shape = (*batch, tokens, heads, value.shape[-1])
    output = query.new_empty(shape).transpose(-3, -2)
    return output.view(*query.shape[:-1], value.shape[-1])


def _deformable_conv2d(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    sides = [
        (side + 2 * p - d * (kernel - 1) - 1) // s + 1
        for side, kernel, s, p, d in zip(
            x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    return x.new_empty(x.shape[0], weight.shape[0], *sides)


_LIBRARY.impl("attention", _attention, "Meta")
_LIBRARY.impl("deformable_conv2d", _deformable_conv2d, "Meta")


@register_flop_formula(torch.ops.attnpool_mm.attention)
def _attention_flops(
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    *args: Any,
    **kwargs: Any,
) -> int:
    shapes = ((1,) * (4 - len(shape)) + tuple(shape) for shape in (query, key, value))
    return sdpa_flop_count(*shapes)


@register_flop_formula(torch.ops.attnpool_mm.deformable_conv2d)
def _deformable_conv2d_flops(
    x: Sequence[int],
    offset: Any,
    mask: Any,
    weight: Sequence[int],
    *args: Any,
    out_shape: Sequence[int],
    **kwargs: Any,
) -> int:
    return conv_flop_count(x, weight, out_shape)


@contextmanager
def shapes_only(model: nn.Module, fused_attention: bool = True) -> Iterator[nn.Module]:
    """Run a network without values: all tensors made inside have only shapes.

    They are PyTorch's fake tensors, on a CPU that is not used. So a forward pass takes
    next to no time and memory, at any size of the input. `scaled_dot_product_attention`
    and MMCV's deformable convolutions are one operator each, of the namespace
    `attnpool_mm`: PyTorch would split up the first into products with an N×N matrix,
    and MMCV's operator needs values.

    Args:
        model (nn.Module): Any module, on any device; it is not changed.
        fused_attention (bool): False: attention is its products and its softmax, with
            the N×N matrix, as where a runtime has no operator for it. Default: True.

    Yields:
        A copy in evaluation mode.

    Raises:
        ConfigError: The model cannot be copied.

    Example:
        >>> from attnpool_mm.pooling import SelfAttentivePool2d
        >>> with torch.no_grad(), shapes_only(SelfAttentivePool2d(64)) as pool:
        ...     pool(torch.empty(1, 64, 8000, 12000)).shape
        torch.Size([1, 64, 4000, 6000])
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)  # tensors that are no buffers
    network = _copy(model, mode)
    with _running(mode, fused_attention):
        yield network


def on_shapes(model: nn.Module, work: Callable[[nn.Module], Result]) -> Result:
    """What `work` makes of a copy of a network without values, as fast as can be.

    The copy is on PyTorch's meta device, which takes a fraction of the time of fake
    tensors. What fails there is done once more with `shapes_only`: a network with
    values of its own may run in that alone.

    Args:
        model (nn.Module): Any module, on any device; it is not changed.
        work (Callable[[nn.Module], Result]): Takes the copy, in evaluation mode.

    Raises:
        ConfigError: The model cannot be copied. Also what `work` raises.

    Example:
        >>> model = nn.Conv2d(3, 8, 3, 2)
        >>> on_shapes(model, lambda conv: conv(torch.empty(1, 3, 9, 9)).shape)
        torch.Size([1, 8, 4, 4])
    """
    try:
        meta = torch.device("meta")
        network = _copy(model, meta)
        for module in network.modules():
            for name, value in vars(module).items():
                if isinstance(value, Tensor):
                    vars(module)[name] = value.to(meta)
        with _running(meta), _SameShape():
            return work(network)
    except Exception:  # what it does there, or says of it, counts
        with shapes_only(model) as network:
            return work(network)


def _copy(model: nn.Module, mode: AbstractContextManager) -> nn.Module:
    """A copy in evaluation mode, whose parameters and buffers are made within `mode`.

    Raises:
        ConfigError: The model cannot be copied.
    """
    # What is in the memo counts as copied, so that no value is.
    memo: dict[int, Any] = {}
    try:
        with torch.inference_mode(False), mode:
            for tensor in chain(model.parameters(), model.buffers()):
                copy = torch.empty(tensor.shape, dtype=tensor.dtype)
                if isinstance(tensor, nn.Parameter):
                    copy = nn.Parameter(copy, tensor.requires_grad)
                memo[id(tensor)] = copy
        with torch.inference_mode(False):
            network = deepcopy(model, memo)
    except Exception as error:  # anything: modules have state of their own
        message = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"{type(model).__name__} cannot be copied without values: {message}"
        ) from error
    network.eval()  # which MMPretrain's backbones do not return
    return network


@contextmanager
def _running(
    mode: AbstractContextManager, fused_attention: bool = True
) -> Iterator[None]:
    with (
        torch.inference_mode(False),  # it hands over operators not split up yet
        mode,
        _Attention(fused_attention),
        _attention_by_name(fused_attention),
        _deformable_as_one_operator(),
        _no_log(),
    ):
        yield


@contextmanager
def empty_input(network: nn.Module, shape: Sequence[int]) -> Iterator[Tensor]:
    """An input of a network without values; what fails on it is one line.

    Args:
        network (nn.Module): What `shapes_only` yields, while that context lasts.
        shape (Sequence[int]): Shape of the input without the batch, (C, H, W) for an
            image.

    Yields:
        A tensor (1, *shape), of the data type of the network.

    Raises:
        ConfigError: `shape` is not made of positive integers, or what runs inside
            fails.

    Example:
        >>> model = nn.Conv2d(3, 8, 3, 2)
        >>> with shapes_only(model) as network, empty_input(network, (3, 9, 9)) as x:
        ...     network(x).shape
        torch.Size([1, 8, 4, 4])
    """
    shape = check_shape(shape)
    dtypes = (p.dtype for p in network.parameters() if p.is_floating_point())
    try:
        with torch.no_grad():
            yield torch.empty(1, *shape, dtype=next(dtypes, torch.float32))
    except ConfigError:
        raise
    except Exception as error:  # anything: networks have operators of their own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"shape={shape}: {type(network).__name__} does not run on it: {reason}"
        ) from error


@contextmanager
def _no_log() -> Iterator[None]:
    """Keep PyTorch from logging a traceback of the errors that it raises anyway."""
    log = logging.getLogger(FakeTensorMode.__module__)
    disabled, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = disabled


class _Attention(TorchFunctionMode):
    """Attention as one operator, or as its two products and a softmax."""

    def __init__(self, fused: bool):
        super().__init__()
        self.call = _attention_call(fused)

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is SDPA:
            return self.call(*args, **kwargs)
        return func(*args, **kwargs)


def _attention_call(fused: bool) -> Callable:
    return _call_attention if fused else _call_products


@contextmanager
def _attention_by_name(fused: bool) -> Iterator[None]:
    """Where PyTorch itself calls it, in `nn.MultiheadAttention`, no mode sees it."""
    before = nn.functional.scaled_dot_product_attention
    nn.functional.scaled_dot_product_attention = _attention_call(fused)
    try:
        yield
    finally:
        nn.functional.scaled_dot_product_attention = before


class _SameShape(TorchFunctionMode):
    """Batch norms and clamping activations give what they get, but for values.

    PyTorch's meta kernels of these two are Python, and take longer than all others.
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is nn.functional.batch_norm and len(args) > 1:
            x, mean = args[:2]
            if mean is not None and len(mean) == x.shape[1]:
                return torch.empty_like(x)
        if func is nn.functional.hardtanh:
            in_place = kwargs.get("inplace") or args[3:4] == (True,)
            return args[0] if in_place else torch.empty_like(args[0])
        return func(*args, **kwargs)


def _call_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    return torch.ops.attnpool_mm.attention(query, key, value, attn_mask)


def _call_products(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    # PyTorch's own decomposition scales both by the root, and converters keep that.
    root = query.shape[-1] ** -0.25
    scores = (query * root) @ (key * root).transpose(-2, -1)
    if attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1) @ value


@contextmanager
def _deformable_as_one_operator() -> Iterator[None]:
    if "mmcv.ops" not in sys.modules:  # no network has the layer
        yield
        return
    # Its operator is called with tensors, from more places than MMCV's module. What
    # all of them come to is this method.
    from mmcv.ops.deform_conv import DeformConv2dFunction
    from mmcv.ops.modulated_deform_conv import ModulatedDeformConv2dFunction

    versions = {
        DeformConv2dFunction: _call_deformable_conv2d_v1,
        ModulatedDeformConv2dFunction: _call_deformable_conv2d,
    }
    forwards = {function: function.forward for function in versions}
    for function, shapes_of in versions.items():
        function.forward = staticmethod(shapes_of)
    try:
        yield
    finally:
        for function, forward in forwards.items():
            function.forward = staticmethod(forward)


def _call_deformable_conv2d_v1(
    ctx: Any,
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    *groups: Any,
) -> Tensor:
    mask = offset  # which it has not; nothing of it is read
    return _call_deformable_conv2d(
        ctx, x, offset, mask, weight, None, stride, padding, dilation
    )


def _call_deformable_conv2d(
    ctx: Any,
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    *groups: int,
) -> Tensor:
    return torch.ops.attnpool_mm.deformable_conv2d(
        x, offset, mask, weight, bias, _pair(stride), _pair(padding), _pair(dilation)
    )
