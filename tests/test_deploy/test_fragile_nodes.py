"""What stays in float, in graphs that are small enough to say it by hand."""

import onnx
import pytest

from attnpool_mm.deploy.fragile_nodes import fragile_nodes

POOL = "AveragePool <kernel_shape = [2, 2]>"


def kept(text):
    """The fragile nodes of a graph with the input x and constant weights."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[1, 1, 2, 2] x) => (float[a, b, c, d] y)
        <float[1, 1, 1, 1] kernel = {{1}}, float[2, 2] matrix = {{1, 2, 3, 4}},
         float[1] two = {{2}}> {{ {text} }}"""
    )
    return fragile_nodes(onnx.shape_inference.infer_shapes(model))


def test_attention_is_float_between_its_projections():
    assert kept(
        """[tokens] t = Relu (x)
        [project] p = MatMul (t, matrix)
        [bias] b = Add (p, two)
        [split] q, v = Split <axis = 3> (b)
        [turn] k = Transpose <perm = [0, 1, 3, 2]> (q)
        [scores] s = MatMul (q, k)
        [shares] w = Softmax (s)
        [mean] m = MatMul (w, v)
        [out] y = MatMul (matrix, m)"""
    ) == ["bias", "split", "turn", "scores", "shares", "mean"]


def test_a_layer_that_uses_the_shares_has_its_weights_in_8_bits():
    assert kept(
        """[logit] l = Conv (x, kernel)
        [shares] s = Softmax (l)
        [mix] m = MatMul (s, matrix)
        [convolve] y = Conv (x, m)"""
    ) == ["shares"]


def test_a_weighted_mean_is_float_from_the_logits_on():
    assert kept(
        f"""[before] h = Relu (x)
        [logit] l = Conv (h, kernel)
        [bound] s = Sigmoid (l)
        [weight] w = Exp (s)
        [product] p = Mul (h, w)
        [above] a = {POOL} (p)
        [below] b = {POOL} (w)
        [mean] m = Div (a, b)
        [after] y = Relu (m)"""
    ) == ["bound", "weight", "product", "above", "below", "mean"]


def test_norms_are_float():
    assert kept(
        """[logit] l = Conv (x, kernel)
        [cut] c = Relu (l)
        [norm] n = BatchNormalization (c, two, two, two, two)
        [after] y = Relu (n)"""
    ) == ["cut", "norm"]


def test_the_positions_of_a_sampling_are_float_and_the_map_before_it_is_not():
    assert kept(
        """[map] h = Relu (x)
        [offset] o = Conv (h, kernel)
        [position] p = Add (o, two)
        [sample] s = GridSample (h, p)
        [after] y = Conv (s, kernel)"""
    ) == ["position", "sample"]


def test_an_index_is_computed_in_float():
    assert kept(
        """[map] h = Relu (x)
        [place] p = Mul (h, two)
        [down] f = Floor (p)
        [index] i = Cast <to = 7> (f)
        [read] y = Gather (h, i)"""
    ) == ["place", "down"]


@pytest.mark.parametrize("text", [
    "[a] d = Div (x, two) [b] y = Relu (d)",
    "[a] l = Conv (x, kernel) [b] s = Sigmoid (l) [c] y = Mul (x, s)",
    f"[a] l = Conv (x, kernel) [b] s = Add (l, x) [c] y = {POOL} (s)",
], ids=["division by a constant", "gate", "residual"])  # fmt: skip
def test_other_networks_have_no_such_nodes(text):
    assert kept(text) == []


def test_what_another_node_uses_too_is_in_8_bits():
    nodes = "[shared] h = Sigmoid (x) [root] r = Sqrt (h) [sum] y = Add (r, h)"
    assert kept(nodes) == ["root"]


def test_the_last_node_may_be_fragile():
    nodes = "[first] h = Sigmoid (x) [root] y = Sqrt (h)"
    assert kept(nodes) == ["first", "root"]


def test_sizes_that_the_file_computes_do_not_count():
    assert kept(
        """[read] h = Sigmoid (x)
        [size] s = Shape (h)
        [turn] r = Reshape (h, s)
        [root] y = Sqrt (r)"""
    ) == ["read", "turn", "root"]
