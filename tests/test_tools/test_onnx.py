"""From a checkpoint to an ONNX file and its accuracy."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from tool_modules import load_tool

from attnpool_mm.deploy.onnx_info import channel_order

ROOT = Path(__file__).parents[2]
CONFIG = """
_base_ = '{root}/configs/classification/digits/resnet18-nlp-stage-end_1xb64_digits.py'
model = dict(backbone=dict(stem_channels=8, base_channels=4), head=dict(in_channels=32))
train_dataloader = dict(num_workers=0, dataset=dict(indices=64))
test_dataloader = dict(num_workers=0, dataset=dict(indices=64))
"""
pytestmark = pytest.mark.usefixtures("tools_undone")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A config of a tiny classifier, and a checkpoint with random weights."""
    folder = tmp_path_factory.mktemp("onnx")
    config = folder / "tiny.py"
    config.write_text(CONFIG.format(root=ROOT))
    cfg = Config.fromfile(config)
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    # weights that tell the digits apart, however badly
    torch.nn.init.normal_(model.head.fc.weight)
    torch.save({"state_dict": model.state_dict()}, folder / "tiny.pth")
    return config, folder / "tiny.pth"


@pytest.fixture(scope="module")
def export_tool():
    return load_tool("deployment/export_onnx.py")


@pytest.fixture(scope="module")
def test_tool():
    return load_tool("deployment/test_onnx.py")


@pytest.fixture(scope="module")
def file(trained, export_tool):
    """The classifier's file, for 32x32."""
    out = trained[0].parent / "tiny.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["", *map(str, trained), "--out", str(out)])
        export_tool.main()
    return out


def differences(output):
    """The rows 'size, images, difference' of what the tool prints."""
    rows = [line.split() for line in output.splitlines()]
    return {row[0]: float(row[2]) for row in rows if len(row) == 3 and "e-" in row[2]}


def test_the_metric_is_that_of_the_checkpoint(file, trained, test_tool, output_of):
    config, checkpoint = trained
    metrics = []
    for tool, weights in ((test_tool, file), (load_tool("test.py"), checkpoint)):
        out = file.with_suffix(".json")
        options = ("--work-dir", file.parent / "work", "--out", out)
        output_of(tool, config, weights, *options)
        metrics.append(json.loads(out.read_text()))
    assert metrics[0] == metrics[1] and metrics[0]["accuracy/top1"] > 0


def test_a_free_size_is_compared_at_several(trained, export_tool, output_of, tmp_path):
    out = tmp_path / "any.onnx"
    output = output_of(export_tool, *trained, "--out", out, "--dynamic", "--images", 2)
    rows = differences(output)
    entries = {p.key: p.value for p in onnx.load(out).metadata_props}
    height, width = json.loads(entries["least_size"])
    assert {"32x32", f"{height}x{width}"} < rows.keys() and len(rows) == 4
    assert max(rows.values()) < 1e-5
    assert entries["classes"] == json.dumps([str(i) for i in range(10)])


@pytest.mark.parametrize(
    ("steps", "to_rgb", "order"),
    [([], False, "RGB"), ([], True, "BGR"), (["LoadImageFromFile"], True, "RGB"),
     (["LoadImageFromFile"], False, "BGR")],
)  # fmt: skip
def test_the_order_of_the_channels(steps, to_rgb, order):
    pipeline = [dict(type=step) for step in (*steps, "PackInputs")]
    loader = dict(dataset=dict(type="CIFAR10", pipeline=pipeline))
    model = SimpleNamespace(data_preprocessor=SimpleNamespace(to_rgb=to_rgb))
    assert channel_order(Config(dict(test_dataloader=loader)), model) == order


def test_a_difference_leaves_no_file(trained, export_tool, error_of, tmp_path):
    out = tmp_path / "net.onnx"
    error = error_of(export_tool, *trained, "--out", out, "--tolerance", 1e-12)
    assert "--tolerance" in error
    assert list(tmp_path.iterdir()) == []


def test_bad_input_of_the_export(trained, export_tool, error_of, tmp_path, monkeypatch):
    config, checkpoint = trained
    out = ("--out", tmp_path / "net.onnx")
    other = tmp_path / "other.pth"
    torch.save({"state_dict": {"backbone.conv1.weight": torch.zeros(1)}}, other)
    cases = [
        ((config, tmp_path / "no.pth", *out), "no.pth"),
        ((config, other, *out), "other.pth"),
        ((config, checkpoint, "--out", tmp_path / "no" / "net.onnx"), "no/net.onnx"),
        ((config, checkpoint, "--out", tmp_path), str(tmp_path)),
        ((config, checkpoint, "--out", config), str(config)),
        ((config, checkpoint, *out, "--images", 0), "--images"),
        ((config, checkpoint, *out, "--images", 1000), "1000"),
        ((config, checkpoint, *out, "--calibration", 0), "--calibration"),
        ((config, checkpoint, *out, "--tolerance", 0), "--tolerance"),
        ((config, checkpoint, *out, "--attention-limit", 1), "--attention-limit"),
        (
            (config, checkpoint, *out, "--cfg-options", "model.head.num_classes=9"),
            "test_dataloader.dataset has 10 classes",
        ),
        ((config, checkpoint, *out, "--shape", 1, 2, 3, 4), "--shape"),
        ((config, checkpoint, *out, "--shape", 1, 32, 32), "(1, 32, 32)"),
        ((config, checkpoint, *out, "--dynamic", "--shape", 9), "least size"),
    ]
    for arguments, named in cases:
        assert named in error_of(export_tool, *arguments), arguments
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not there
    assert "attnpool_mm[onnx]" in error_of(export_tool, config, checkpoint, *out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.pth"]


def test_bad_input_of_the_test(file, trained, test_tool, error_of, tmp_path):
    config, checkpoint = trained
    (tmp_path / "folder.json").mkdir()
    cases = [
        ((config, tmp_path / "no.onnx"), "no.onnx"),
        ((config, checkpoint), "tiny.pth"),  # no ONNX
        ((config, file, "--threads", 0), "--threads"),
        ((config, file, "--out", "metrics.txt"), "metrics.txt"),
        (
            (config, file, "--out", tmp_path / "folder.json"),
            "folder.json: it is a folder",
        ),
        ((config, file, "--out", file / "metrics.json"), f"{file} is a file"),
        ((config, file, "--out", "/proc/metrics.json"), "/proc cannot be written to"),
        ((config, file, "--cfg-options", "model.head.num_classes=11"), "11"),
        ((config, file, "--cfg-options", "data_preprocessor.to_rgb=True"), "to_rgb"),
    ]
    for arguments, named in cases:
        options = ("--work-dir", tmp_path / "work")
        assert named in error_of(test_tool, *arguments[:2], *options, *arguments[2:])
    assert not list(tmp_path.glob("folder.json/*"))
