"""Networks in 8 bits, against PyTorch in float."""

import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attnpool_mm.datasets.digits import load_digit_images
from attnpool_mm.deploy.onnx import export_onnx
from attnpool_mm.deploy.onnx_network import OnnxNetwork
from attnpool_mm.deploy.quantize import quantize_onnx
from attnpool_mm.pooling import LocalImportancePool2d, SelfAttention, build_pool
from attnpool_mm.utils.errors import ConfigError

BATCH = {"x": {0: "batch"}, "y": {0: "batch"}}
FREE = {"x": {0: "batch", 2: "height", 3: "width"}, "y": {}}


def export(model, path, shape, free=FREE):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            *(model.eval(), (torch.zeros(1, *shape),), str(path)),
            dynamo=False,
            opset_version=17,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes=free,
        )
    return path


def outputs(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def error(y, expected):
    return ((y - expected).norm() / expected.norm()).item()


def types_of(path):
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A network of two convolutions, its file, images and outputs."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Sigmoid()
    )
    path = export(model, tmp_path_factory.mktemp("small") / "float.onnx", (3, 8, 8))
    x = torch.randn(6, 3, 8, 8)
    return path, x, model(x).detach()


def test_weights_and_maps_are_integers_and_the_ends_floats(small, tmp_path):
    path, x, expected = small
    target = tmp_path / "int8.onnx"
    assert quantize_onnx(path, target, [x]) == []
    model = onnx.load(target)
    onnx.checker.check_model(model, full_check=True)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    for conv, channels in zip(convolutions, (8, 4), strict=True):
        for name in conv.input:
            assert producers[name].op_type == "DequantizeLinear"
        weight, scale, zero = (constants[n] for n in producers[conv.input[1]].input)
        assert weight.data_type == onnx.TensorProto.UINT8
        assert list(scale.dims) == [channels]
        assert set(onnx.numpy_helper.to_array(zero).flat) == {128}
    for tensor in (*model.graph.input, *model.graph.output):
        assert tensor.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert 0 < error(outputs(target, x), expected) < 0.02


@pytest.mark.parametrize("last", [nn.Identity(), nn.ReLU()], ids=["conv", "ReLU"])
def test_what_comes_out_is_not_rounded(tmp_path, last):
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 1), last)
    x = torch.randn(2, 1, 32, 32)
    path = export(model, tmp_path / "float.onnx", (1, 32, 32))
    quantize_onnx(path, tmp_path / "int8.onnx", [x])
    y, expected = outputs(tmp_path / "int8.onnx", x), model(x).detach()
    assert error(y, expected) < 0.02
    if isinstance(last, nn.ReLU):
        assert y.min() == 0
    else:
        assert len(y.unique()) > 1000
    quantised = onnx.load(tmp_path / "int8.onnx").graph
    used = {name for node in quantised.node for name in node.input}
    assert {tensor.name for tensor in quantised.initializer} <= used


def test_the_ranges_are_those_of_all_batches(small, tmp_path):
    path, x, expected = small
    errors = []
    for batches in ([x], x.split(1), [x[:1] / 10, x[1:].numpy()], [x / 10]):
        quantize_onnx(path, tmp_path / "int8.onnx", iter(batches))
        errors.append(error(outputs(tmp_path / "int8.onnx", x), expected))
    assert max(errors[:3]) < 0.02 and errors[3] > 10 * max(errors[:3])


def test_metadata_stay(small, tmp_path):
    model = onnx.load(small[0])
    onnx.helper.set_model_props(model, {"mean": "[1.0]", "precision": "float32"})
    onnx.save(model, tmp_path / "float.onnx")
    quantize_onnx(tmp_path / "float.onnx", tmp_path / "int8.onnx", [small[1]])
    written = onnx.load(tmp_path / "int8.onnx").metadata_props
    entries = {entry.key: entry.value for entry in written}
    assert (entries["mean"], entries["precision"]) == ("[1.0]", "int8")


def test_a_file_may_take_its_own_place(small, tmp_path):
    (tmp_path / "net.onnx").write_bytes(small[0].read_bytes())
    quantize_onnx(tmp_path / "net.onnx", str(tmp_path / "net.onnx"), [small[1]])
    assert "QuantizeLinear" in types_of(tmp_path / "net.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize("keep_float, quantised", [
    (("Conv", "Sigmoid"), False), (("Conv",), True)
])  # fmt: skip
def test_types_that_stay_in_float(small, tmp_path, keep_float, quantised):
    path, x, expected = small
    kept = quantize_onnx(path, tmp_path / "int8.onnx", [x], keep_float)
    assert len(kept) == len(keep_float) + 1
    assert ("QuantizeLinear" in types_of(tmp_path / "int8.onnx")) == quantised
    y = outputs(tmp_path / "int8.onnx", x)
    assert torch.allclose(y, expected, atol=1e-6) != quantised


def test_a_node_without_a_name_stays_in_float(tmp_path):
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        net (float[n, 1024] x) => (float[n, 1024] y) { s = Softmax (x) y = Relu (s) }"""
    )
    onnx.save(model, tmp_path / "float.onnx")
    kept = quantize_onnx(
        tmp_path / "float.onnx", tmp_path / "int8.onnx", [np.zeros((1, 1024))]
    )
    assert len(kept) == 2


class UniformAttention(nn.Module):
    """Attention that gives each of N tokens 1/N: the mean of the values."""

    def __init__(self):
        super().__init__()
        self.attention = SelfAttention(8, num_heads=2)
        nn.init.zeros_(self.attention.in_proj_weight[:16])

    def forward(self, x):
        return self.attention(x.flatten(2).transpose(1, 2))


class WideWeights(nn.Module):
    """LIP's pool with weights of 1 to e¹², by the window."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.pool = LocalImportancePool2d(8, form="original")
        nn.init.constant_(self.pool.norm.weight, 8.0)

    def forward(self, x):
        return self.pool(self.conv(x))


@pytest.mark.parametrize("model, channels, side", [
    (UniformAttention, 8, 32), (WideWeights, 3, 16)
])  # fmt: skip
def test_what_8_bits_would_destroy_is_kept(tmp_path, model, channels, side):
    model, x = model(), torch.randn(2, channels, side, side)
    expected = model(x).detach()
    path = export(model, tmp_path / "float.onnx", (channels, side, side))
    target = tmp_path / "int8.onnx"
    kept = quantize_onnx(path, target, [x])
    assert kept and error(outputs(target, x), expected) < 0.05
    assert quantize_onnx(path, target, [x], keep_float=()) == []
    assert not error(outputs(target, x), expected) < 0.2  # or not a number


class Enlarged(nn.Module):
    """Three pixels in the place of two, by indices that the file computes."""

    def forward(self, x):
        height, width = x.shape[2:]
        return F.interpolate(x, size=(height * 3 // 2, width * 3 // 2))


def test_any_size_where_the_file_takes_any(tmp_path):
    pool = dict(type="SelfAttentivePool2d", normalize=False)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), build_pool(pool, 8, 2), Enlarged()
    )
    source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    export_onnx(model, source, (3, 16, 16), dynamic=True)
    quantize_onnx(source, target, torch.randn(9, 3, 16, 20).split(1))
    network = OnnxNetwork(target)
    for size in ((14, 10), (50, 60)):
        x = torch.randn(1, 3, *size)
        assert error(network(x), model(x).detach()) < 0.05, size


def digits(split):
    images, labels = load_digit_images(split)
    return torch.from_numpy(images)[:, None] / 127.5 - 1, torch.from_numpy(labels)


@pytest.mark.parametrize("pool", ["SelfAttentivePool2d", "LocalImportancePool2d"])
def test_digits_are_read_as_well(pool, tmp_path):
    x, labels = digits("train")
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        build_pool(dict(type=pool), 16, 2),
        *(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256, 10)),
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for batch in [*torch.randperm(len(x)).split(64)] * 2:
        loss = F.cross_entropy(model(x[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    path = export(model, tmp_path / "float.onnx", (1, 8, 8), BATCH)
    quantize_onnx(path, tmp_path / "int8.onnx", x[:: len(x) // 100].split(16))
    x, labels = digits("test")
    with torch.no_grad():
        expected = (model(x).argmax(1) == labels).float().mean()
    accuracy = (outputs(tmp_path / "int8.onnx", x).argmax(1) == labels).float().mean()
    assert expected > 0.9 and abs(accuracy - expected) < 0.01


@pytest.mark.parametrize("batches, found", [
    ([], "batches"),
    ([torch.zeros(2, 3, 8)], r"batches\[0\] is 2x3x8:"),
    ([torch.zeros(2, 4, 8, 8)], r"batches\[0\] is 2x4x8x8: .*anyx3xanyxany"),
    ([torch.zeros(0, 3, 8, 8)], r"batches\[0\]"),
    ([torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)], r"batches\[1\]"),
    ([torch.full((1, 3, 8, 8), torch.nan)], r"batches\[0\].*finite"),
    ([torch.zeros(1, 3, 1, 1)], "float.onnx.*onnxruntime"),  # too small for a kernel
])  # fmt: skip
def test_batches_that_do_not_fit(small, tmp_path, batches, found):
    with pytest.raises(ConfigError, match=found):
        quantize_onnx(small[0], tmp_path / "int8.onnx", batches)
    assert list(tmp_path.iterdir()) == []


def test_images_of_another_size_than_the_files(tmp_path):
    path = export(nn.Conv2d(3, 4, 1), tmp_path / "float.onnx", (3, 8, 8), free=None)
    with pytest.raises(ConfigError, match=r"1x3x8x9.*1x3x8x8"):
        quantize_onnx(path, tmp_path / "int8.onnx", [torch.zeros(1, 3, 8, 9)])


def test_files_that_cannot_be_quantised(small, tmp_path):
    path, x, _ = small
    bad, done = tmp_path / "bad.onnx", tmp_path / "int8.onnx"
    quantize_onnx(path, done, [x])
    two = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        net (float[2] x, float[2] z) => (float[2] y) { y = Add (x, z) }"""
    )
    onnx.save(two, tmp_path / "two.onnx")
    contents = (b"", b"no ONNX at all", path.read_bytes()[:-50])
    with pytest.raises(ConfigError, match="it is a folder"):
        quantize_onnx(path, tmp_path, [x])
    for source, found in (
        (tmp_path / "none.onnx", "none.onnx"),
        (tmp_path, str(tmp_path)),
        (tmp_path / "two.onnx", "takes x, z"),
        (done, "quantised already"),
        *((content, "bad.onnx") for content in contents),
    ):
        if isinstance(source, bytes):
            bad.write_bytes(source)
            source = bad
        with pytest.raises(ConfigError, match=found) as caught:
            quantize_onnx(source, done, [x])
        assert "\n" not in str(caught.value)


def test_other_arguments(small, tmp_path):
    with pytest.raises(ConfigError, match="keep_float='Covn'.*'Conv'"):
        quantize_onnx(small[0], tmp_path / "int8.onnx", [small[1]], ["Covn"])
    with pytest.raises(ConfigError, match="target=.*nowhere"):
        quantize_onnx(small[0], tmp_path / "nowhere" / "int8.onnx", [small[1]])


def test_a_missing_onnxruntime_is_said(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(ConfigError, match=r"attnpool_mm\[onnx\]"):
        quantize_onnx(small[0], tmp_path / "int8.onnx", [small[1]])
