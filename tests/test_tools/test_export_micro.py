"""`export_micro.py`: what it refuses, and what it measures of the demo's network."""

import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from tool_modules import load_tool

from attnpool_mm.deploy.micro import DEFAULT_PYTHON
from attnpool_mm.engine.launch import read_config

ROOT = Path(__file__).parents[2]
CLASSIFIER = (
    ROOT / "configs/classification/digits/resnet18-nlp-stage-end_1xb64_digits.py"
)
DETECTOR = (
    ROOT / "configs" / "demo" / "faster-rcnn_resnet18-half-nlp_fpn_digits-coco.py"
)
PYTHON = ROOT / DEFAULT_PYTHON

pytestmark = pytest.mark.usefixtures("tools_undone")


@pytest.fixture(scope="module")
def tool():
    return load_tool("deployment/export_micro.py")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Random weights of the demo's classifier."""
    cfg = read_config(str(CLASSIFIER))
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save({"state_dict": MODELS.build(cfg.model).state_dict()}, path)
    return path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--micro-python", "no/python"], "make micro"),
        (["--micro-python", __file__], "make micro"),
        (["--calibration", "0"], "--calibration=0"),
        (["--images", "-1"], "--images=-1"),
        (["--attention-limit", "much"], "--attention-limit='much'"),
        (["--out", "nowhere/model.tflite"], "nowhere"),
        (["--out", "no.pth"], "no.pth: a file that is not"),
        (["--json", "nowhere/all.json"], "nowhere"),
        (["--json", "model.tflite"], "model.tflite: a file that is not"),
    ],
)
def test_options_are_refused_before_any_work(
    tool, error_of, arguments, said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = ["--out", "model.tflite", "--micro-python", sys.executable]
    error = error_of(tool, "no_config.py", "no.pth", *given, *arguments)
    assert said in error


def test_a_missing_checkpoint(tool, error_of, tmp_path):
    error = error_of(
        tool, CLASSIFIER, "no.pth", "--out", tmp_path / "m", "--micro-python",
        sys.executable,
    )  # fmt: skip
    assert "no.pth" in error


def test_a_detector(tool, error_of, tmp_path):
    weights = tmp_path / "detector.pth"
    weights.touch()
    error = error_of(
        tool, DETECTOR, weights, "--out", tmp_path / "m", "--micro-python",
        sys.executable,
    )  # fmt: skip
    assert DETECTOR.name in error and "classifier" in error


def test_missing_images(tool, error_of, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ROOT / "configs" / "classification" / "visual_wake_words"
    error = error_of(
        tool, config / "mobilenet-v2-strided_1xb64_vww.py", checkpoint, "--out", "m",
        "--micro-python", sys.executable,
    )  # fmt: skip
    assert "train_dataloader.dataset" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shape", "1", "32", "32"], "--shape"),
        (["--shape", "0"], "--shape=0"),
        (["--images", "100000"], "100000"),
        (["--attention-limit", "8B"], "limit=8"),
    ],
)
def test_what_does_not_fit_the_network(
    tool, error_of, checkpoint, arguments, said, tmp_path
):
    error = error_of(
        tool, CLASSIFIER, checkpoint, "--out", tmp_path / "m", "--calibration", 2,
        "--images", 2, "--micro-python", sys.executable, *arguments,
    )  # fmt: skip
    assert said in error and not (tmp_path / "m").exists()


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON.exists(), reason="no environment of `make micro`")
def test_the_arena_of_the_digits_network(tool, output_of, checkpoint, tmp_path):
    arenas = {}
    for name, arguments in (("int8", []), ("float32", ["--float"])):
        path = tmp_path / f"{name}.json"
        output = output_of(
            tool, CLASSIFIER, checkpoint, "--out", tmp_path / f"{name}.tflite",
            "--calibration", 8, "--images", 4, "--micro-python", PYTHON,
            "--json", path, *arguments,
        )  # fmt: skip
        written = json.loads(path.read_text())
        arenas[name] = written["arena"]["head"]
        assert f"{written['arena']['total']:,} bytes" in output
        assert written["input"]["dtype"] == name
        assert written["input"]["shape"] == [1, 32, 32, 3]
        half = [127.5] * 3
        expected = dict(mean=half, std=half, channels="RGB")
        assert written["preprocessing"] == expected
        assert "mean [127.5" in output
    assert 2 * arenas["int8"] < arenas["float32"] < 1_000_000
