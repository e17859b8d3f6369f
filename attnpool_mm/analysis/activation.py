"""The operations of a forward pass, and how much memory their tensors take.

What counts, in an ideal runtime (`attention='fused'`):

- A tensor lives from the operation that makes it to the last one that reads it. Views
  share the memory of what they are views of. The network's input lives until its last
  reader, its outputs to the end.
- Weights and buffers do not count, nor does what is computed from them alone (a table
  of positions): it is a constant.
- Every value takes the same number of bytes, whatever its data type.
- A pointwise operation (an activation, a sum, a product, a cast or a change of layout),
  a norm or a softmax writes over an input of its output's size that nothing reads any
  more. So a norm and an activation after a convolution cost nothing.
- Attention is one operation, which reads queries, keys and values and makes no matrix
  of tokens × tokens.
- Results that nothing reads, such as the positions of the maxima of a max-pooling, are
  not made. What an operation needs besides its inputs and outputs is not counted.

`attnpool_mm.analysis.device` says what a microcontroller's runtime does instead
(`attention='unfused'`).
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import conv_flop_count, flop_registry

from ..utils.shapes import empty_input, shapes_only
from .arena import plan_arena
from .device import as_on_device
from .recorded import Operation, Recorded

# Operators by name, as in torch.ops.aten. Those with PyTorch's tag "pointwise" need not
# be here.
IN_PLACE = {
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_prelu_kernel",
    "_softmax",
    "_to_copy",
    "cudnn_batch_norm",
    "hardswish",
    "leaky_relu",
    "native_batch_norm",
    "native_group_norm",
    "native_layer_norm",
    "rsub",
}
UNCOUNTED = ("attention", "gru", "lstm", "rnn")  # in operators with weights or products
POOLS = {
    "_adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "amax",
    "amin",
    "avg_pool2d",
    "max_pool2d_with_indices",
    "mean",
    "var_mean",
}


def record_operations(
    model: nn.Module,
    shape: Sequence[int],
    bytes_per_value: int,
    method: str,
    attention: str,
) -> tuple[list[Operation], int]:
    """Run a copy of a network once, without values, and list its operations.

    The arguments are those of `attnpool_mm.analysis.measure_complexity`.

    Returns:
        'input' first, then, in their order, the operations that depend on the input;
        and the bytes of an arena for the activations, 0 with fused attention.
    """
    fused = attention == "fused"
    with (
        shapes_only(model, fused_attention=fused) as network,
        empty_input(network, shape) as x,
    ):
        recorder = _Recorder(x, bytes_per_value, copies=not fused)
        for name, module in network.named_modules():
            module.register_forward_pre_hook(recorder.enter(name))
            module.register_forward_hook(recorder.leave)
        with recorder:
            outputs = getattr(network, method)(x)
    recorded, sizes = recorder.recorded, recorder.sizes
    if not fused:
        recorded = as_on_device(recorded, sizes, bytes_per_value)
    lives = _measure(recorded, sizes, recorder.numbers_of(outputs))
    arena = 0 if fused else plan_arena(lives)
    return [step.operation for step in recorded], arena


class _Recorder(TorchDispatchMode):
    """What each operation reads and writes.

    Every tensor that depends on the input has a number; `sizes` has its bytes.

    Args:
        x (Tensor): The network's input.
        bytes_per_value (int): Bytes of a value.
        copies (bool): Whether a view is a copy, and what works in place makes a new
            tensor.
    """

    def __init__(self, x: Tensor, bytes_per_value: int, copies: bool):
        super().__init__()
        self.bytes_per_value = bytes_per_value
        self.copies = copies
        self.modules = [""]
        # Holding the memory here keeps PyTorch from using it again.
        self.numbers: dict[UntypedStorage, int] = {}
        self.sizes: list[int] = []
        operation = Operation("", "input", tuple(x.shape))
        self.recorded = [Recorded(operation, writes=[self.new_number(x)])]

    def enter(self, name: str) -> Callable:
        def hook(*_: Any) -> None:
            self.modules.append(name)

        return hook

    def leave(self, *_: Any) -> None:
        self.modules.pop()

    def new_number(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        values = storage.nbytes() // tensor.element_size()
        self.sizes.append(values * self.bytes_per_value)
        self.numbers[storage] = len(self.sizes) - 1
        return self.numbers[storage]

    def numbers_of(self, values: Any) -> list[int]:
        """The tensors in `values` that depend on the input, each once."""
        storages = (t.untyped_storage() for t in _tensors(values))
        return list(
            dict.fromkeys(self.numbers[s] for s in storages if s in self.numbers)
        )

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name.startswith("new_") or name.endswith("_like"):  # no values read
            return result
        reads = self.numbers_of((args, kwargs))
        if not reads or not _tensors(result):
            return result
        if not func._schema.is_mutable and all(
            self.numbers.get(t.untyped_storage()) in reads for t in _tensors(result)
        ):
            if not self.copies:
                return result
            result = _copies(result, (args, kwargs))
        self.record(func, args, kwargs, reads, result)
        return result

    def record(
        self, func: Any, args: tuple, kwargs: dict, reads: list[int], result: Any
    ) -> None:
        results = _tensors(result)
        writes = []
        for storage, tensor in {t.untyped_storage(): t for t in results}.items():
            changed = self.copies and func._schema.is_mutable
            known = storage in self.numbers and not changed
            writes.append(self.numbers[storage] if known else self.new_number(tensor))
        if all(number in reads for number in writes) and not func._schema.is_mutable:
            return  # a view of the same shape
        packet, name = func.overloadpacket, func.overloadpacket.__name__
        flops, counted = 0, packet in flop_registry
        if counted:
            flops = flop_registry[packet](*args, **kwargs, out_val=result)
        elif name == "deform_conv2d":  # torchvision's
            counted = True
            flops = conv_flop_count(args[0].shape, args[1].shape, result.shape)
        elif any(word in name for word in UNCOUNTED):
            where = self.modules[-1] or "the network"
            warnings.warn(f"{where}: the FLOPs of {name} are not counted", stacklevel=2)
        shape = tuple(results[0].shape)
        self.recorded.append(
            Recorded(
                Operation(self.modules[-1], name, shape, int(flops)),
                reads,
                writes,
                _by_name(func, args, kwargs),
                is_layer=counted or name in POOLS,
                in_place=torch.Tag.pointwise in func.tags or name in IN_PLACE,
            )
        )


def _measure(
    recorded: list[Recorded], sizes: list[int], outputs: list[int]
) -> list[tuple[int, int, int]]:
    """Fill in the bytes of the operations; return first, last and bytes of tensors."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for i, step in enumerate(recorded):
        for number in step.writes:
            first.setdefault(number, i)
        for number in (*step.reads, *step.writes):
            last[number] = i
    last |= dict.fromkeys(outputs, len(recorded))
    changes = [0] * (len(recorded) + 2)
    for i, step in enumerate(recorded):
        step.writes = [n for n in step.writes if n == step.writes[0] or last[n] > i]
        for number in step.writes:
            if first[number] == i:
                changes[i] += sizes[number]
                changes[last[number] + 1] -= sizes[number]
    live, lives = 0, {}
    for i, step in enumerate(recorded):
        live += changes[i]
        target = step.writes[0]
        overwritten = (
            step.in_place
            and first[target] == i
            and any(last[n] == i and sizes[n] == sizes[target] for n in step.reads)
        )
        lives |= {n: (i, last[n], sizes[n]) for n in step.writes if first[n] == i}
        if overwritten:  # one piece of memory
            source = next(
                n for n in step.reads if last[n] == i and sizes[n] == sizes[target]
            )
            lives[target] = (lives.pop(source)[0], *lives[target][1:])
        own = {*step.reads, *step.writes} if step.is_layer else ()
        saved = sizes[target] if overwritten else 0
        step.operation.live_bytes = live - saved
        step.operation.layer_bytes = sum(sizes[n] for n in own)
    return list(lives.values())


def _by_name(func: Any, args: tuple, kwargs: dict) -> dict[str, Any]:
    parameters = func._schema.arguments
    given = {p.name: value for p, value in zip(parameters, args, strict=False)}
    return {p.name: p.default_value for p in parameters} | given | kwargs


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _copies(views: Any, arguments: Any) -> Any:
    """Tensors of their own in the place of views, but where nothing changes."""
    sources = {t.untyped_storage(): t for t in _tensors(arguments)}

    def copy(view: Tensor) -> Tensor:
        source = sources[view.untyped_storage()]
        if (view.shape, view.stride()) == (source.shape, source.stride()):
            return view
        return torch.empty(view.shape, dtype=view.dtype)

    return tree_map_only(Tensor, copy, views)
