"""Networks in ONNX with 8-bit integers in the place of floats."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ..utils.checks import nearest
from ..utils.errors import ConfigError
from ..utils.extras import require
from .fragile_nodes import FLOAT, fragile_nodes

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

EXTRA = "onnx"
FRAGILE = "fragile"


def quantize_onnx(
    source: str | Path,
    target: str | Path,
    batches: Iterable[Tensor | np.ndarray],
    keep_float: Collection[str] = (FRAGILE,),
) -> list[str]:
    """Write a network with weights and maps of one byte a value.

    onnxruntime's static quantisation: the range of each map is that of the batches,
    weights have a scale for each output channel. Maps and weights are unsigned, since
    of signed weights onnxruntime's kernels for x86 processors without VNNI let the sums
    of two products saturate. The file holds pairs of
    QuantizeLinear and DequantizeLinear around its nodes, which runtimes fuse. It takes
    and gives floats as before, what the last layers give is not rounded to 8 bits, and
    its metadata stay, but for the `precision` of `OnnxInfo`.

    Args:
        source (str | Path): ONNX file of one float input, such as `torch.onnx.export`
            writes.
        target (str | Path): Where the quantised file goes, which may be `source`. It
            appears when it is whole.
        batches (Iterable[Tensor | np.ndarray]): Images as the network gets them, (B, C,
            H, W) of the file's size. A hundred images of the training set do, if all
            its classes are among them.
        keep_float (Collection[str]): What stays in float: names of nodes, types of
            operators such as `'Sigmoid'`, and `'fragile'` for what `fragile_nodes`
            finds. `()` leaves nothing that onnxruntime can quantise. Default:
            (FRAGILE,).

    Raises:
        ConfigError: onnx or onnxruntime is not installed; `source` is no ONNX file, is
            quantised, or takes something else than one float array; there is no batch,
            or one of another shape, without images, or not finite; `keep_float` names
            nothing in the file; the folder of `target` is missing; the file does not
            run on the batches.

    Returns:
        The names of the nodes that stay in float because of `keep_float`.

    Example:
        >>> import onnx
        >>> model = onnx.parser.parse_model('''
        ...     <ir_version: 8, opset_import: ["": 17]>
        ...     net (float[n, 2] x) => (float[n, 2] y) {
        ...         [scores] s = Mul (x, x)
        ...         [shares] y = Softmax (s)
        ...     }''')
        >>> onnx.save(model, 'float.onnx')
        >>> quantize_onnx('float.onnx', 'int8.onnx', [torch.randn(4, 2)])
        ['scores', 'shares']
    """
    onnx, tools = require("onnx", EXTRA), require("onnxruntime.quantization", EXTRA)
    shapes = require("onnxruntime.quantization.shape_inference", EXTRA)
    source, target = Path(source), Path(target)
    if isinstance(keep_float, str):
        raise ConfigError(f"keep_float={keep_float!r}: a list of names is accepted")
    given = _read(source)
    if not target.parent.is_dir():
        raise ConfigError(f"target={str(target)!r}: there is no folder {target.parent}")
    if target.is_dir():
        raise ConfigError(f"target={str(target)!r}: it is a folder; a file is accepted")
    images = _Images(batches, _input(given, source))
    with TemporaryDirectory(prefix=".int8-", dir=target.parent) as folder:
        prepared, written = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        try:
            # The symbolic inference fails on attention with sizes that the file
            # computes; only types are needed.
            shapes.quant_pre_process(source, prepared, skip_symbolic_shape=True)
            model = onnx.shape_inference.infer_shapes(onnx.load(prepared))
            _name_nodes(model)
            onnx.save(model, prepared)
            kept = _kept(keep_float, model, given)
            tools.quantize_static(
                prepared,
                written,
                images,
                per_channel=True,
                activation_type=tools.QuantType.QUInt8,
                weight_type=tools.QuantType.QUInt8,
                nodes_to_exclude=kept,
            )
        except (ConfigError, OSError):
            raise
        except Exception as error:  # onnxruntime's have no base but this
            raise ConfigError(
                f"source={str(source)!r}: onnxruntime cannot quantise it by these "
                f"batches ({_line(error)})"
            ) from error
        quantised = onnx.load(written)
        _unround_outputs(quantised, model)
        for entry in quantised.metadata_props:
            if entry.key == "precision":
                entry.value = "int8"
        onnx.save(quantised, written)
        os.replace(written, target)
    return kept


class _Images:
    """The batches, checked, as onnxruntime asks for them."""

    def __init__(self, batches: Iterable[Tensor | np.ndarray], tensor: ValueInfoProto):
        self.name = tensor.name
        self.sides = [
            side.dim_value or None for side in tensor.type.tensor_type.shape.dim
        ]
        checked = self._check(batches)
        first = next(checked, None)  # before the work starts
        if first is None:
            raise ConfigError(
                "batches: at least one is needed to find the maps' ranges"
            )
        self.batches = chain([first], checked)

    def _check(self, batches: Iterable[Tensor | np.ndarray]) -> Iterator[np.ndarray]:
        for number, batch in enumerate(batches):
            if isinstance(batch, Tensor):
                batch = batch.detach().float().cpu().numpy()
            batch = np.asarray(batch, dtype=np.float32)
            fits = len(batch.shape) == len(self.sides) and all(
                expected in (None, side)
                for side, expected in zip(batch.shape, self.sides, strict=True)
            )
            if not fits or batch.size == 0:
                accepted = "x".join(str(side or "any") for side in self.sides)
                raise ConfigError(
                    f"batches[{number}] is {'x'.join(map(str, batch.shape))}: the file "
                    f"takes {accepted}"
                )
            if not np.isfinite(batch).all():
                raise ConfigError(f"batches[{number}] has values that are not finite")
            yield batch

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch by the input's name; None after the last."""
        batch = next(self.batches, None)
        return None if batch is None else {self.name: batch}


def _read(source: Path) -> ModelProto:
    onnx = require("onnx", EXTRA)
    try:
        model = onnx.load(source)
        onnx.checker.check_model(model)
    except FileNotFoundError as error:
        raise ConfigError(f"source={str(source)!r}: there is no such file") from error
    except Exception as error:  # of several libraries
        raise ConfigError(
            f"source={str(source)!r} is no ONNX file ({_line(error)})"
        ) from error
    types = {node.op_type for node in model.graph.node}
    found = sorted(name for name in types if "Quant" in name or name.startswith("QL"))
    if found:
        raise ConfigError(
            f"source={str(source)!r} is quantised already: it has {found[0]}; a file "
            "in float is accepted"
        )
    return model


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _input(model: ModelProto, source: Path) -> ValueInfoProto:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [tensor for tensor in model.graph.input if tensor.name not in constants]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != FLOAT:
        names = ", ".join(tensor.name for tensor in inputs)
        raise ConfigError(
            f"source={str(source)!r} takes {names or 'nothing'}: a file with one "
            "float32 input is accepted"
        )
    return inputs[0]


def _name_nodes(model: ModelProto) -> None:
    """Give names to nodes that have none, or one of another node."""
    seen = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}:{number}"
        seen.add(node.name)


def _unround_outputs(quantised: ModelProto, model: ModelProto) -> None:
    """Let the last layers give floats, not one of 256 values.

    Args:
        quantised (ModelProto): Is changed.
        model (ModelProto): What it was before.
    """
    nodes = quantised.graph.node
    producers = {name: node for node in nodes for name in node.output}
    uses = Counter(name for node in nodes for name in node.input)
    kinds = {name: node.op_type for node in model.graph.node for name in node.output}
    for name in (tensor.name for tensor in quantised.graph.output):
        dequantize = producers.get(name)
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            continue
        quantize = producers[dequantize.input[0]]
        exact = quantize.input[0]
        last = producers.get(exact)
        # A ReLU may be gone, which the range of the integers does instead.
        if last and last.op_type == kinds[name] and uses[exact] == 1 and not uses[name]:
            last.output[[*last.output].index(exact)] = name
            nodes.remove(quantize)
            nodes.remove(dequantize)
    used = {name for node in nodes for name in node.input}
    constants = quantised.graph.initializer
    for constant in [tensor for tensor in constants if tensor.name not in used]:
        constants.remove(constant)


def _kept(
    keep_float: Collection[str], model: ModelProto, given: ModelProto
) -> list[str]:
    """The names of the nodes of `model` that `keep_float` names.

    A node of the file `given` may be gone from `model`, whose constants are computed.
    """
    nodes = (*model.graph.node, *given.graph.node)
    known = {FRAGILE} | {word for node in nodes for word in (node.name, node.op_type)}
    for word in keep_float:
        if word not in known:
            raise ConfigError(
                f"keep_float={word!r}: no node or type of the file, "
                f"{nearest(word, known)}"
            )
    kept = set(keep_float)
    if FRAGILE in kept:
        kept |= set(fragile_nodes(model))
    return [n.name for n in model.graph.node if kept & {n.name, n.op_type}]
