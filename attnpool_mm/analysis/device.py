"""What a microcontroller's runtime makes of a network's operations.

The rules of `attention='unfused'`: how TensorFlow Lite Micro runs what LiteRT's
converter writes. They are those of `attnpool_mm.analysis.activation`, but for these:

- No operation writes over its input, and a view of another shape is a copy: RESHAPE,
  TRANSPOSE, SLICE and BROADCAST_TO are operations like others.
- A norm is folded into the convolution or matrix product before it, and a ReLU or ReLU6
  into that or into a sum, difference, product, quotient or pooling, if nothing else
  reads what is between them.
- A convolution or pooling whose padding is not TensorFlow's "SAME" reads a padded copy
  of its input, which an operation 'pad' makes. "SAME" pads as little as gives
  ⌈length / stride⌉ pixels, the odd pixel at the end: a 3×3 kernel with stride 2 and
  padding 1 has a copy where the map's side is even. So has every average pooling, but
  at stride 1 where what is padded does not count.
- Attention is a matrix product, a softmax and a matrix product. The matrix of tokens ×
  tokens of all heads lives twice while the softmax runs, in float32.
- Where a value has 1 or 2 bytes, what stays in float32 (a softmax, an exponential, a
  logarithm, a quotient, a minimum) reads and writes copies of 4 bytes a value. What
  comes next in float32 reads the same copy.

What is kept from the first operation to the last is counted apart, as `kept_bytes`: 8
bytes for each output channel of a convolution, in int8 of a linear layer too; a copy of
the right operand of each product of two activations, unless it is a transposed one; and
about 200 bytes for the structures of each operation, as measured on a 64-bit machine.

The gaps that the planner of the arena leaves are in `planned_bytes`: see
`attnpool_mm.analysis.arena`. Changes of layout between channels first and channels last
are not counted.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import prod

from .recorded import Operation, Recorded

PRODUCTS = {"addmm", "convolution", "mm"}
POOLS = {"avg_pool2d", "max_pool2d_with_indices"}
FUSING = {*PRODUCTS, *POOLS, "add", "div", "mul", "sub"}
NORMS = {
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    "native_batch_norm",
}
REMOVED = {"_to_copy", "clone"}
FLOAT = {
    "_softmax", "abs", "div", "exp", "floor", "log", "log1p", "minimum", "softplus",
    "sqrt",
}  # fmt: skip
FLOAT_BYTES = 4
CHANNEL_BYTES = 8  # a multiplier and a shift
STEP_BYTES = 200  # structures of an operation and its tensors, on a 64-bit machine


def as_on_device(
    recorded: list[Recorded], sizes: list[int], bytes_per_value: int
) -> list[Recorded]:
    """What runs, in its order, with the copies that it needs.

    Args:
        recorded (list[Recorded]): What the network does. It is changed.
        sizes (list[int]): Bytes of each tensor. Those of the copies are added.
        bytes_per_value (int): Bytes of a value.
    """
    _fold(recorded)
    wider = FLOAT_BYTES // bytes_per_value
    _keep(recorded, sizes, by_channel={"convolution"} if wider <= 1 else PRODUCTS)
    steps = [made for step in recorded for made in _with_copies(step, sizes)]
    if wider <= 1:
        return steps
    return list(_in_float(steps, sizes, wider))


def _fold(recorded: list[Recorded]) -> None:
    """Mark what is folded into the operation before it as working in place."""
    readers = Counter(number for step in recorded for number in step.reads)
    makers: dict[int, str] = {}
    for step in recorded:
        name, maker = _name(step), None
        if len(step.reads) == 1 and readers[step.reads[0]] == 1:
            maker = makers.get(step.reads[0])
        norm = name in NORMS and maker in PRODUCTS
        activation = _is_relu(step) and maker in FUSING
        step.in_place = norm or activation or name in REMOVED
        makers |= dict.fromkeys(step.writes, maker if norm else name)


def _keep(recorded: list[Recorded], sizes: list[int], by_channel: set[str]) -> None:
    """Fill in what the kernels keep; those of `by_channel` for each output channel."""
    makers = {number: _name(step) for step in recorded for number in step.writes}
    for step in recorded[1:]:
        if step.in_place:
            continue
        kept = STEP_BYTES
        if _name(step) in by_channel:
            kept += CHANNEL_BYTES * step.operation.shape[1]
        elif _name(step) == "bmm" and makers[step.reads[-1]] != "transpose":
            kept += sizes[step.reads[-1]]
        step.operation.kept_bytes = kept


def _with_copies(step: Recorded, sizes: list[int]) -> list[Recorded]:
    """A step, after the one that makes a copy for it if it reads one."""
    source = step.reads[0] if step.reads else None
    if growth := _growth_by_padding(step):
        copy = _new(sizes, round(sizes[source] * growth))
        step.reads = [copy, *step.reads[1:]]
        return [_step(step, "pad", [source], copy), step]
    if _name(step) == "silu":  # x · sigmoid(x)
        copy = _new(sizes, sizes[source])
        step.reads = [source, copy]
        return [_step(step, "sigmoid", [source], copy), step]
    return [step]


def _in_float(
    steps: list[Recorded], sizes: list[int], wider: int
) -> Iterator[Recorded]:
    """The steps, with those that change to float32 and back."""
    float_only = {number for step in steps if _is_float(step) for number in step.reads}
    for step in steps:
        if not _is_float(step):
            float_only.difference_update(step.reads)
    copies: dict[int, int] = {}
    for step in steps:
        if not _is_float(step):
            yield step
            continue
        for i, source in enumerate(step.reads):
            if source not in copies:
                step.reads[i] = _new(sizes, wider * sizes[source])
                yield _step(step, "dequantize", [source], step.reads[i])
            else:
                step.reads[i] = copies[source]
        (result,) = step.writes
        copies[result] = _new(sizes, wider * sizes[result])
        step.writes = [copies[result]]
        yield step
        if result not in float_only:
            yield _step(step, "quantize", step.writes, result)


def _is_float(step: Recorded) -> bool:
    """Whether it runs in float32; a quotient by a constant is a product."""
    if _name(step) == "clamp":  # a minimum
        return step.arguments["min"] is None
    return _name(step) in FLOAT and not (_name(step) == "div" and len(step.reads) < 2)


def _growth_by_padding(step: Recorded) -> float | None:
    """How many times larger the padded copy of its input is; None if it needs none."""
    given = step.arguments
    if _name(step) not in {"convolution", *POOLS} or given.get("transposed"):
        return None
    x, kernel = given.get("input", given.get("self")), given.get("kernel_size")
    sides, kernel = x.shape[2:], kernel or given["weight"].shape[2:]
    windows = [
        _each(given.get(name) or default, sides)
        for name, default in (("stride", kernel), ("padding", 0), ("dilation", 1))
    ]
    if not any(windows[1]):
        return None
    same = all(
        _is_same(*window) for window in zip(sides, kernel, *windows, strict=True)
    )
    only_inside = not given.get("count_include_pad") and max(windows[0]) == 1
    if same and (_name(step) != "avg_pool2d" or only_inside):
        return None
    padded = (side + 2 * p for side, p in zip(sides, windows[1], strict=True))
    return prod(padded) / prod(sides)


def _is_same(side: int, kernel: int, stride: int, padding: int, dilation: int) -> bool:
    """Whether a padding of both ends is what TensorFlow's "SAME" gives a side."""
    needed = (-(-side // stride) - 1) * stride + dilation * (kernel - 1) + 1 - side
    return needed == 2 * padding


def _is_relu(step: Recorded) -> bool:
    if _name(step) == "hardtanh":
        return (step.arguments["min_val"], step.arguments["max_val"]) == (0, 6)
    return _name(step) == "relu"


def _each(value: int | Sequence[int], sides: Sequence[int]) -> Sequence[int]:
    return [value] * len(sides) if isinstance(value, int) else value


def _name(step: Recorded) -> str:
    return step.operation.name.removesuffix("_")


def _new(sizes: list[int], size: int) -> int:
    sizes.append(size)
    return len(sizes) - 1


def _step(beside: Recorded, name: str, reads: list[int], writes: int) -> Recorded:
    operation = Operation(beside.operation.module, name, beside.operation.shape)
    return Recorded(operation, reads, [writes])
