"""The operations of a forward pass, and how much memory their tensors take.

What counts, as a microcontroller's runtime would see it:

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
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ..utils.shapes import shapes_only

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


@dataclass
class Operation:
    """One operation of a forward pass.

    Attributes:
        module: Name of the module that runs it, '' for the network itself.
        name: PyTorch's name of it; 'input' for what comes before all operations.
        shape: Shape of its first result.
        flops: Operations of its products: two for a multiplication and an addition.
        live_bytes: Size of all tensors that live while it runs.
        layer_bytes: Size of its inputs and outputs, if it is a layer: a convolution, a
            matrix product, attention or a pooling; else 0.
    """

    module: str
    name: str
    shape: tuple[int, ...]
    flops: int = 0
    live_bytes: int = 0
    layer_bytes: int = 0


@dataclass
class _Recorded:
    operation: Operation
    reads: list[UntypedStorage] = field(default_factory=list)
    writes: list[UntypedStorage] = field(default_factory=list)
    is_layer: bool = False
    in_place: bool = False


def record_operations(
    model: nn.Module, shape: Sequence[int], bytes_per_value: int, method: str
) -> list[Operation]:
    """Run a copy of a network once, without values, and list its operations.

    The arguments are those of `attnpool_mm.analysis.measure_complexity`.

    Returns:
        'input' first, then, in their order, the operations that depend on the input.
    """
    dtypes = (p.dtype for p in model.parameters() if p.is_floating_point())
    # Inference mode hands over operators that are not split up yet.
    with torch.inference_mode(False), torch.no_grad(), shapes_only(model) as network:
        x = torch.empty(1, *shape, dtype=next(dtypes, torch.float32))
        recorder = _Recorder(x)
        for name, module in network.named_modules():
            module.register_forward_pre_hook(recorder.enter(name))
            module.register_forward_hook(recorder.leave)
        with recorder:
            outputs = getattr(network, method)(x)
    kept = [t.untyped_storage() for t in tree_leaves(outputs) if _is_tensor(t)]
    _measure(recorder.recorded, recorder.sizes, kept, bytes_per_value)
    return [recorded.operation for recorded in recorder.recorded]


class _Recorder(TorchDispatchMode):
    """What each operation reads and writes.

    `sizes` holds every tensor's memory that depends on the input, and its number of
    values. Holding it here keeps PyTorch from using one again for another tensor.
    """

    def __init__(self, x: Tensor):
        super().__init__()
        self.modules = [""]
        storage = x.untyped_storage()
        self.sizes = {storage: x.numel()}
        operation = Operation("", "input", tuple(x.shape))
        self.recorded = [_Recorded(operation, writes=[storage])]

    def enter(self, name: str) -> Callable:
        def hook(*_: Any) -> None:
            self.modules.append(name)

        return hook

    def leave(self, *_: Any) -> None:
        self.modules.pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if not name.startswith("new_") and not name.endswith("_like"):  # no values read
            self.record(func, args, kwargs, result)
        return result

    def record(self, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
        reads = list({
            t.untyped_storage(): None
            for t in tree_leaves((args, kwargs))
            if _is_tensor(t) and t.untyped_storage() in self.sizes
        })  # fmt: skip
        results = [t for t in tree_leaves(result) if _is_tensor(t)]
        written = {t.untyped_storage(): t for t in results}
        views = not func._schema.is_mutable and all(s in reads for s in written)
        if not reads or not results or views:
            return
        for storage, tensor in written.items():
            values = storage.nbytes() // tensor.element_size()
            self.sizes.setdefault(storage, values)
        packet, name = func.overloadpacket, func.overloadpacket.__name__
        flops = 0
        if packet in flop_registry:
            flops = flop_registry[packet](*args, **kwargs, out_val=result)
        shape = tuple(results[0].shape)
        self.recorded.append(
            _Recorded(
                Operation(self.modules[-1], name, shape, int(flops)),
                reads,
                list(written),
                is_layer=packet in flop_registry or name in POOLS,
                in_place=torch.Tag.pointwise in func.tags or name in IN_PLACE,
            )
        )


def _measure(
    recorded: list[_Recorded],
    sizes: dict[UntypedStorage, int],
    outputs: list[UntypedStorage],
    bytes_per_value: int,
) -> None:
    """Fill in the bytes of the operations."""
    first: dict[UntypedStorage, int] = {}
    last: dict[UntypedStorage, int] = {}
    for i, op in enumerate(recorded):
        for storage in op.writes:
            first.setdefault(storage, i)
        for storage in (*op.reads, *op.writes):
            last[storage] = i
    last |= {storage: len(recorded) for storage in outputs if storage in sizes}
    changes = [0] * (len(recorded) + 2)
    for i, op in enumerate(recorded):
        op.writes = [s for s in op.writes if s is op.writes[0] or last[s] > i]
        for storage in op.writes:
            if first[storage] == i:
                changes[i] += sizes[storage]
                changes[last[storage] + 1] -= sizes[storage]
    live = 0
    for i, op in enumerate(recorded):
        live += changes[i]
        target = op.writes[0]
        overwritten = (
            op.in_place
            and first[target] == i
            and any(last[s] == i and sizes[s] == sizes[target] for s in op.reads)
        )
        own = {*op.reads, *op.writes} if op.is_layer else ()
        saved = sizes[target] if overwritten else 0
        op.operation.live_bytes = (live - saved) * bytes_per_value
        op.operation.layer_bytes = sum(sizes[s] for s in own) * bytes_per_value


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)
