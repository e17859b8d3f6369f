"""Whole networks as ONNX files: classifiers, detectors, and what stands in the file."""

import onnx
import pytest
import torch
from config_runs import fake_batch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from oracles import randomized

import attnpool_mm.models
from attnpool_mm.deploy.onnx import export_onnx
from attnpool_mm.deploy.onnx_network import (
    OnnxNetwork,
    difference,
    replace_network,
)
from attnpool_mm.pooling import build_pool
from attnpool_mm.utils.errors import ConfigError

POOL = dict(type="SelfAttentivePool2d", num_heads=2, normalize=False)
RESNET = dict(
    type="attnpool_mm.AttnPoolResNet", depth=18, stem_channels=8, base_channels=4
)
BACKBONES = {
    "resnet": (dict(RESNET, pool_cfg=POOL), 32),
    "dynamic resnet": (
        dict(RESNET, strides=(2, 1, 1, 1), conv_cfg=dict(type="DynamicConv2d")),
        32,
    ),
    "mobilenet": (
        dict(type="attnpool_mm.AttnPoolMobileNetV2", widen_factor=0.1, pool_cfg=POOL),
        1280,
    ),
    "spem": (
        dict(
            type="attnpool_mm.AttnPoolResNetCIFAR",
            depth=14,
            block="basic",
            attention_cfg=dict(type="SPEM"),
        ),
        64,
    ),
    "spem's ablations": (
        dict(
            type="attnpool_mm.AttnPoolResNetCIFAR",
            depth=8,
            block="basic",
            attention_cfg=[
                dict(type="SPEM", pooling=pooling) for pooling in ("max", "min", "avg")
            ],
        ),
        64,
    ),
    "pooled": (
        dict(
            type="attnpool_mm.PooledBackbone",
            backbone=dict(type="mmpretrain.MobileNetV3", arch="small_050"),
            pool_cfg=dict(type="LocalImportancePool2d"),
        ),
        288,
    ),
}

QUICK = ("resnet", "spem")


def classifier(backbone, channels, num_classes=5, **preprocessor):
    init_default_scope("mmpretrain")
    preprocessor = dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True) | preprocessor
    return MODELS.build(
        dict(
            type="ImageClassifier",
            data_preprocessor=preprocessor,
            backbone=backbone,
            neck=dict(type="GlobalAveragePooling"),
            head=dict(
                type="LinearClsHead", num_classes=num_classes, in_channels=channels
            ),
        )
    )


def tiny(num_classes=5, **preprocessor):
    backbone = dict(RESNET, depth=18, pool_cfg=POOL)
    return classifier(backbone, 32, num_classes, **preprocessor)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name not in QUICK])
def test_backbones_of_one_size(name, tmp_path):
    model = randomized(classifier(*BACKBONES[name]), std=0.1)
    export_onnx(model, tmp_path / "net.onnx", (3, 48, 33))
    network = OnnxNetwork(tmp_path / "net.onnx", threads=1)
    assert difference(model, network, torch.randn(2, 3, 48, 33)) < 1e-5


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in BACKBONES
    ],
)
def test_backbones_of_a_free_size(name, tmp_path):
    model = randomized(classifier(*BACKBONES[name]), std=0.1)
    info = export_onnx(model, tmp_path / "net.onnx", (3, 64, 64), dynamic=True)
    network = OnnxNetwork(tmp_path / "net.onnx", threads=1)
    least = info.least_size[0]
    for size in [(least, least), (least + 1, least + 30), (64, 64), (75, 50)]:
        images = torch.randn(1, 3, *size)
        assert difference(model, network, images) < 1e-5, size


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A classifier's file, for images of 32x32."""
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    torch.manual_seed(0)
    model = tiny()
    export_onnx(model, path, (3, 32, 32), classes="abcde")
    return model, path


def test_metadata(file):
    network = OnnxNetwork(file[1])
    info = network.info
    assert (info.task, info.structure, info.layout) == (
        "classification", "logits", "NCHW",
    )  # fmt: skip
    assert (info.shape, info.least_size, info.dynamic) == ([3, 32, 32], [32, 32], False)
    assert (info.mean, info.std, info.to_rgb) == ([120.0] * 3, [60.0] * 3, True)
    assert (info.classes, info.precision) == (list("abcde"), "float32")
    # as any runtime sees them
    entries = network.session.get_modelmeta().custom_metadata_map
    assert entries["attnpool_mm"] == attnpool_mm.__version__
    assert entries["outputs"].startswith("logits")


def test_a_classifier_predicts_by_its_file(file):
    model, path = file
    batch = fake_batch(ConfigDict(default_scope="mmpretrain"), size=32)
    expected = model.eval().test_step(batch)
    other = tiny()  # with other weights
    replace_network(other, OnnxNetwork(path))
    for sample, wanted in zip(other.test_step(batch), expected, strict=True):
        torch.testing.assert_close(
            sample.pred_score, wanted.pred_score, atol=1e-5, rtol=1e-4
        )


def detector(num_classes=3):
    """A one-stage detector whose head predicts whatever the scores are."""
    init_default_scope("mmdet")
    return MODELS.build(
        ConfigDict(
            type="RetinaNet",
            data_preprocessor=dict(
                type="DetDataPreprocessor",
                mean=[120.0] * 3,
                std=[60.0] * 3,
                bgr_to_rgb=True,
                pad_size_divisor=32,
            ),
            backbone=dict(RESNET, pool_cfg=POOL, out_indices=(2, 3)),
            neck=dict(
                type="FPN", in_channels=[16, 32], out_channels=8, num_outs=3,
                add_extra_convs="on_output",
            ),  # fmt: skip
            bbox_head=dict(
                type="RetinaHead",
                num_classes=num_classes,
                in_channels=8,
                stacked_convs=1,
                feat_channels=8,
                anchor_generator=dict(
                    type="AnchorGenerator", octave_base_scale=2, ratios=[1.0],
                    scales_per_octave=1, strides=[16, 32, 64],
                ),
            ),  # fmt: skip
            test_cfg=dict(
                nms_pre=50, score_thr=0.0, max_per_img=10,
                nms=dict(type="nms", iou_threshold=0.5),
            ),
        )
    )  # fmt: skip


def test_a_detector_predicts_by_its_file(tmp_path):
    model = detector()
    info = export_onnx(model, tmp_path / "det.onnx", (3, 64, 64), dynamic=True)
    assert (info.task, info.to_rgb) == ("detection", True)
    assert info.structure == [[f"output_{i}_{j}" for j in range(3)] for i in range(2)]
    batch = fake_batch(ConfigDict(default_scope="mmdet"), size=96)
    expected = model.test_step(batch)
    other = detector()
    replace_network(other, OnnxNetwork(tmp_path / "det.onnx"))
    for sample, wanted in zip(other.test_step(batch), expected, strict=True):
        boxes, right = sample.pred_instances, wanted.pred_instances
        assert len(right) > 0 and torch.equal(boxes.labels, right.labels)
        torch.testing.assert_close(boxes.scores, right.scores, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(boxes.bboxes, right.bboxes, atol=1e-3, rtol=1e-4)
    with pytest.raises(ConfigError, match="4"):  # classes that the file has not
        replace_network(detector(num_classes=4), OnnxNetwork(tmp_path / "det.onnx"))


def test_other_networks_are_refused(file):
    network = OnnxNetwork(file[1])
    others = [tiny(num_classes=6), tiny(mean=[0.0] * 3), tiny(to_rgb=False), detector()]
    gray = dict(RESNET, in_channels=1, pool_cfg=POOL)
    others.append(classifier(gray, 32))
    for other in others:
        with pytest.raises(ConfigError, match="another network"):
            replace_network(other, network)


def test_files_that_are_no_such_file(tmp_path, file):
    missing, text, cut = (tmp_path / name for name in ("a.onnx", "b.onnx", "c.onnx"))
    text.write_text("no file of ONNX")
    data = file[1].read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    for path in (missing, text, cut):
        with pytest.raises(ConfigError, match=path.name):
            OnnxNetwork(path)
    foreign = tmp_path / "foreign.onnx"
    conv = torch.nn.Conv2d(3, 4, 3)
    torch.onnx.export(conv, (torch.zeros(1, 3, 9, 9),), str(foreign), dynamo=False)
    with pytest.raises(ConfigError, match="task"):
        OnnxNetwork(foreign)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task", "segmentation"),
        ("task", "\x1b[2J\nclassification"),
        ("structure", "null"),
        ("structure", "[]"),
        ("structure", '["logits", 3]'),
        ("structure", '["logits", "other"]'),
        ("structure", "[" * 100 + '"logits"' + "]" * 100),
        ("structure", "[" * 10**5),
        ("shape", "7"),
        ("shape", "[3, 32]"),
        ("shape", "[3, 32.5, true]"),
        ("shape", '["3", "32", "32"]'),
        ("shape", "[3, -32, 32]"),
        ("shape", "9" * 5000),
        ("dynamic", '"yes"'),
        ("least_size", "[null, null]"),
        ("size_multiple", "0"),
        ("size_multiple", "x"),
        ("classes", '"abcde"'),
        ("classes", "[1, 2]"),
        ("mean", "[[1], [2], [3]]"),
        ("std", '{"a": 1}'),
        ("to_rgb", "1"),
        ("channels", '"GRB"'),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_metadata_of_another_kind(file, name, value, tmp_path):
    model = onnx.load(file[1])
    entries = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, entries | {name: value})
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(ConfigError, match=f"net.onnx: its entry '{name}'") as caught:
        OnnxNetwork(tmp_path / "net.onnx")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 700


class TwoOutputs(torch.nn.Module):
    """A map, and the strongest channel of each pixel."""

    def __init__(self, offset=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.offset = offset

    def forward(self, x):
        y = self.conv(x)
        return dict(map=y + self.offset, strongest=y.argmax(1))


def test_differences(tmp_path):
    model, images = TwoOutputs(), torch.randn(2, 3, 9, 9)
    export_onnx(model, tmp_path / "net.onnx", (3, 9, 9))
    network = OnnxNetwork(tmp_path / "net.onnx")
    # of any type of floats; the file's are float32
    assert difference(model, network, images.requires_grad_()) < 1e-5
    assert network(images.double())[1].dtype == torch.int64
    for offset in (float("inf"), float("nan")):
        other = TwoOutputs(offset)
        assert difference(other, network, images) == float("inf")
        export_onnx(other, tmp_path / "other.onnx", (3, 9, 9))
        network_2 = OnnxNetwork(tmp_path / "other.onnx")
        assert difference(model, network_2, images) == float("inf")
        assert difference(other, network_2, images) < 1e-5
    conv = torch.nn.Conv2d(3, 4, 5)
    export_onnx(conv, tmp_path / "conv.onnx", (3, 9, 9))
    wider = torch.nn.Conv2d(3, 5, 5)
    network = OnnxNetwork(tmp_path / "conv.onnx")
    assert difference(wider, network, images) == float("inf")


@pytest.mark.parametrize(
    "shape", [(3, 0, 9), (3, 9.0, 9), (9, 9), 9, None, "abc", (3, True, 9)]
)
def test_shapes_that_are_none(tmp_path, shape):
    with pytest.raises(ConfigError, match="shape"):
        export_onnx(torch.nn.Conv2d(3, 4, 1), tmp_path / "net.onnx", shape)
    assert not list(tmp_path.iterdir())


def test_bad_arguments(tmp_path, file):
    conv = torch.nn.Conv2d(3, 4, 3)
    for path in (tmp_path, tmp_path / "no" / "net.onnx"):
        with pytest.raises(ConfigError, match="path='.*'"):
            export_onnx(conv, path, (3, 9, 9))
    for threads in (0, -1, 1.5, True):
        with pytest.raises(ConfigError, match="threads="):
            OnnxNetwork(file[1], threads)
    for images in (torch.rand(0, 3, 32, 32), torch.rand(1, 1, 32, 32)):
        with pytest.raises(ConfigError, match="images of shape"):
            OnnxNetwork(file[1])(images)


def test_operators_that_no_runtime_has(tmp_path):
    from mmcv.ops import DeformConv2dPack

    init_default_scope("mmdet")
    with pytest.raises(ConfigError, match="MMCVDeformConv2d"):
        export_onnx(DeformConv2dPack(3, 4, 3), tmp_path / "net.onnx", (3, 9, 9))
    assert not (tmp_path / "net.onnx").exists()


def test_a_head_for_several_tasks_predicts_by_its_file(tmp_path):
    def build():
        head = dict(type="LinearClsHead", in_channels=32)
        tasks = dict(
            colour=dict(head, num_classes=3),
            # as many as channels: what comes out would go in again
            shape=dict(head, num_classes=32),
        )
        backbone = dict(RESNET, pool_cfg=POOL)
        model = classifier(backbone, 32)
        model.head = MODELS.build(dict(type="MultiTaskHead", task_heads=tasks))
        return randomized(model, std=0.1).eval()

    model, other = build(), build()
    export_onnx(model, tmp_path / "net.onnx", (3, 32, 32))
    replace_network(other, OnnxNetwork(tmp_path / "net.onnx"))
    images = torch.rand(2, 3, 32, 32)
    wanted = model.head.predict(model.extract_feat(images))
    got = other.head.predict(other.extract_feat(images))
    for sample, right in zip(got, wanted, strict=True):
        for task in ("shape", "colour"):
            torch.testing.assert_close(
                sample.get(task).pred_score, right.get(task).pred_score
            )


def test_images_that_the_network_does_not_take(tmp_path):
    with pytest.raises(ConfigError, match=r"shape=\(1, 32, 32\)"):
        export_onnx(tiny(), tmp_path / "net.onnx", (1, 32, 32))
    pool = build_pool(dict(type="MaxPool2d"), 3, 5)
    with pytest.raises(ConfigError, match="4x20 is below the least size.*5x5"):
        export_onnx(pool, tmp_path / "net.onnx", (3, 4, 20), dynamic=True)
    assert not (tmp_path / "net.onnx").exists()


def test_a_two_stage_detector_without_its_heads(tmp_path):
    model = torch.nn.Module()
    model.extract_feat = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    info = export_onnx(model, tmp_path / "net.onnx", (3, 9, 9))
    assert info.task == "features" and "without the heads" in info.outputs
    with pytest.raises(ConfigError, match="heads"):
        replace_network(model, OnnxNetwork(tmp_path / "net.onnx"))
