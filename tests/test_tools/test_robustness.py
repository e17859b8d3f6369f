"""The table of accuracies under corruptions, of a classifier without training."""

import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmpretrain import get_model
from tool_modules import load_tool

from attnpool_mm.analysis.predictions import TestImages
from attnpool_mm.analysis.robustness import measure_robustness
from attnpool_mm.engine.launch import read_config
from attnpool_mm.engine.testing import run_test

CONFIGS = Path(__file__).parents[2] / "configs"
DETECTOR = CONFIGS / "detection/ssd/ssdlite_mobilenetv2-spem_8xb24-600e_coco.py"
CONFIG = f"""
_base_ = '{CONFIGS}/classification/digits/resnet20-spem_1xb64_digits.py'
model = dict(backbone=dict(depth=8))
loader = dict(num_workers=0, persistent_workers=False, dataset=dict(indices=40))
val_dataloader = loader
test_dataloader = loader
"""
TOOL = "analysis_tools/robustness.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The config, and weights for it."""
    folder = tmp_path_factory.mktemp("robustness")
    (folder / "config.py").write_text(CONFIG)
    cfg = read_config(str(folder / "config.py"))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), folder / "weights.pth")
    return folder


def test_the_table_is_the_files_and_the_accuracy_that_of_a_test(
    folder, monkeypatch, tools_undone, output_of
):
    monkeypatch.chdir(folder)
    options = "--severities 4 --corruptions contrast fog --seed 1 --max-shift 2"
    words = [*options.split(), "--json", "new/file.json"]
    output = output_of(load_tool(TOOL), "config.py", "weights.pth", *words)
    results = json.loads(Path("new/file.json").read_text())
    cfg = read_config("config.py")
    metrics = run_test(cfg, "weights.pth")
    assert results["accuracy"] == pytest.approx(metrics["accuracy/top1"])
    model = get_model("config.py", "weights.pth")
    corruptions = ["contrast", "fog"]
    expected = measure_robustness(model, TestImages(cfg), 2, corruptions, 4, 1)
    assert results["shift_consistency"] == expected["shift_consistency"]
    assert results["num_images"] == 40
    assert results["mean"] == pytest.approx(expected["corruption/mean"])
    table = dict(line.rsplit(maxsplit=1) for line in output.splitlines()[2:])
    assert table.pop("accuracy, severity") == "4"
    for name in corruptions:
        assert results["corruptions"][name] == {"4": expected[f"corruption/{name}"]}
        assert table.pop(name) == f"{expected[f'corruption/{name}']:.2f}"
    assert table == {"mean": f"{results['mean']:.2f}"}
    accuracy, consistency = output.splitlines()[:2]
    assert f"{results['accuracy']:.2f} %" in accuracy
    assert f"{results['shift_consistency']:.2f} %" in consistency


@pytest.mark.parametrize(
    "config, words, said",
    [
        (DETECTOR, "", "default_scope='mmdet'"),
        ("config.py", "--corruptions fogg", "'fog'"),
        ("config.py", "--severities 1 6", "severity=6"),
        ("config.py", "--severities 2 2", "severities="),
        ("config.py", "--max-shift 0", "--max-shift=0"),
        ("config.py", "--max-shift 32", "max_shift=32"),
        ("config.py", "--num-images 41", "40"),
        ("config.py", "--json config.py/a.json", "--json='config.py'"),
        ("config.py", "--cache config.py", "--cache='config.py'"),
        ("config.py", "--cfg-options test_dataloader=None", "test_dataloader"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_before_anything(
    folder, monkeypatch, tools_undone, error_of, config, words, said
):
    monkeypatch.chdir(folder)
    tool = load_tool(TOOL)
    monkeypatch.setattr(tool.trained, "load_trained", None)  # would be a TypeError
    assert said in error_of(tool, config, "weights.pth", *words.split())


def test_a_missing_package_is_named(folder, monkeypatch, tools_undone, error_of):
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    error = error_of(load_tool(TOOL), "config.py", "weights.pth")
    assert "[robustness]" in error
