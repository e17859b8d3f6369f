"""Which nodes of a network in ONNX lose too much in 8 bits."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # an extra, which the command line's help does without
    from onnx import ModelProto, NodeProto

# A small error of what these get is a large one of what they give, or, for GridSample,
# of where a map is read.
AMPLIFYING = ("Div", "Exp", "GridSample", "Log", "Pow", "Reciprocal", "Sqrt")
# No runtime has them in integers; after a convolution they are part of it by then.
NORMS = ("BatchNormalization", "InstanceNormalization", "LayerNormalization")
LAYERS = ("Conv", "ConvTranspose", "Gemm")
FLOAT = 1  # onnx.TensorProto.FLOAT


def fragile_nodes(model: ModelProto) -> list[str]:
    """Find the nodes that a network in 8 bits leaves in float.

    Eight bits have one step for a whole tensor, its range over 255. That is too coarse

    - for the shares that attention gives its tokens: each of 1,024 equal ones is
      1/1024, less than half a step of a softmax's range from 0 to 1, and becomes 0.
      So softmax stays in float, with what uses its shares (but no layer with weights).
    - for what is divided, exponentiated or rooted: y = avg(w·x) / avg(w) divides by
      weights that are 0 then. Positions at which a map is sampled are as coarse.
      A norm that is no part of a convolution divides too.
    - for floats that become integers, such as the index of a pixel: in 8 bits it is
      that of another, and never beyond those of the images of the calibration.

    With each of them stays what serves it alone, back to the next layer with weights:
    the weights of a pool back to the convolution that gives their logits, attention
    back to the projection of its tokens. The layers with weights are in 8 bits.

    Args:
        model (ModelProto): The network. Its nodes have names, and the types of its
            tensors are inferred (`onnx.shape_inference.infer_shapes`).

    Returns:
        The names of the nodes, in the order of the file.

    Example:
        >>> import onnx
        >>> model = onnx.parser.parse_model('''
        ...     <ir_version: 8, opset_import: ["": 17]>
        ...     lip (float[1,8,2,2] x, float[8,8,1,1] k) => (float[1,8,1,1] y) {
        ...         [logit] l = Conv (x, k)
        ...         [weight] w = Exp (l)
        ...         [product] p = Mul (x, w)
        ...         [above] a = GlobalAveragePool (p)
        ...         [below] b = GlobalAveragePool (w)
        ...         [mean] y = Div (a, b)
        ...     }''')
        >>> fragile_nodes(onnx.shape_inference.infer_shapes(model))
        ['weight', 'product', 'above', 'below', 'mean']
    """
    floats, constants = _float_tensors(model), _constants(model)
    nodes = [n for n in model.graph.node if floats & set(n.output) - constants]
    indexing = [n for n in model.graph.node if _gives_integers(n, floats)]
    users = defaultdict(set)
    for node in (*nodes, *indexing):
        for name in node.input:
            users[name].add(node.name)
    layers = {node.name for node in nodes if _has_weights(node, constants)}
    kept = {node.name for node in indexing}
    for node in nodes:
        if node.op_type == "Softmax":
            kept |= {node.name} | users[node.output[0]] - layers
        elif node.op_type in AMPLIFYING + NORMS and not _divides_by(node, constants):
            kept.add(node.name)
    for node in reversed(nodes):  # each stands after the nodes that it uses
        of_node = set().union(*(users[name] for name in node.output))
        if of_node and of_node <= kept and node.name not in layers:
            kept.add(node.name)
    return [node.name for node in nodes if node.name in kept]


def _float_tensors(model: ModelProto) -> set[str]:
    """The float tensors; the others are the sizes that a file computes."""
    graph = model.graph
    typed = (*graph.value_info, *graph.input, *graph.output)
    return {t.name for t in typed if t.type.tensor_type.elem_type == FLOAT}


def _constants(model: ModelProto) -> set[str]:
    graph = model.graph
    given = {tensor.name for tensor in graph.initializer}
    nodes = (node for node in graph.node if node.op_type == "Constant")
    return given | {name for node in nodes for name in node.output}


def _gives_integers(node: NodeProto, floats: set[str]) -> bool:
    """Whether a node makes integers of floats."""
    if node.op_type != "Cast":
        return False
    return node.input[0] in floats and node.output[0] not in floats


def _divides_by(node: NodeProto, constants: set[str]) -> bool:
    """Whether a node is a division by a constant, which amplifies nothing."""
    return node.op_type == "Div" and node.input[1] in constants


def _has_weights(node: NodeProto, constants: set[str]) -> bool:
    if node.op_type == "MatMul":  # a projection; attention multiplies two maps
        return bool(constants & set(node.input))
    return node.op_type in LAYERS
