"""From a real training, resumed once, to pictures of what SPEM learned."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tool_modules import load_tool, run_tool

ROOT = Path(__file__).parents[2]
CONFIG = """
_base_ = '{root}/configs/classification/digits/resnet18-nlp-stage-end_1xb64_digits.py'
model = dict(
    backbone=dict(
        _delete_=True, type='mmdet.ResNet', depth=50, base_channels=4,
        out_indices=(3,), norm_eval=False, plugins=[dict(
            cfg=dict(type='attnpool_mm.SPEM'), position='after_conv3')]),
    head=dict(in_channels=128))
train_dataloader = dict(num_workers=0, dataset=dict(indices=256))
val_dataloader = dict(num_workers=0, dataset=dict(indices=64))
custom_hooks = [dict(type='attnpool_mm.SPEMLoggerHook', interval=2)]
default_hooks = dict(logger=dict(interval=2))
optim_wrapper = dict(constructor='attnpool_mm.SPEMOptimWrapperConstructor')
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "spem.py"
    path.write_text(CONFIG.format(root=ROOT))
    return path


@pytest.fixture(scope="module")
def trained(config):
    """The work folder of two epochs of 4 iterations, and a third one, resumed."""
    work_dir = config.parent / "trained"
    options = ["--work-dir", work_dir, "--cfg-options", "train_cfg.max_epochs=2"]
    run_tool("train.py", config, *options)
    assert not warnings_of_spem(work_dir)
    run_tool("train.py", config, "--resume", *options[:-1], "train_cfg.max_epochs=3")
    return work_dir


def warnings_of_spem(work_dir):
    (log,) = work_dir.glob("*/*.log")
    return [line for line in log.read_text().splitlines() if "SPEM layers" in line]


@pytest.fixture(scope="module")
def tool():
    return load_tool("visualization/plot_spem.py")


def test_pictures(trained, tool, output_of, tmp_path):
    output = output_of(tool, trained, "--out", tmp_path)
    for name in ("lambda.png", "curves.png"):
        assert str(tmp_path / name) in output
        picture = cv2.imread(str(tmp_path / name))
        assert picture.shape[0] >= 400 and picture.shape[1] >= 800
        ink = (picture < 250).any(2).mean()
        assert 0.01 < ink < 0.5
    # left of the colour bar, the colour of the last block, whose line is on top
    picture = cv2.imread(str(tmp_path / "lambda.png"))[:, :900]
    blue, green, red = 27, 226, 210
    distance = np.abs(picture.astype(int) - (blue, green, red)).max(2)
    assert (distance < 12).sum() > 500


def test_default_folder(trained, tool, output_of):
    output_of(tool, trained)
    names = sorted(path.name for path in (trained / "spem").iterdir())
    assert names == ["curves.png", "lambda.png"]


def test_points_are_those_of_the_log(trained, tool):
    """Both runs' values, each once, in the order of the iterations and blocks."""
    training, validation = tool.collect(tool.read_work_dir(trained))
    lines = [
        json.loads(line)
        for path in sorted(trained.glob("*/vis_data/scalars.json"))
        for line in path.read_text().splitlines()
    ]
    names = [name for name in training if name.startswith("spem_lambda/")]
    blocks = [(1, 3), (2, 4), (3, 6), (4, 3)]
    expected = [f"layer{s}.{i}" for s, n in blocks for i in range(n)]
    assert [name.removeprefix("spem_lambda/") for name in names] == expected
    for name in (*names, "loss", "spem_penalty"):
        wanted = [(line["step"], line[name]) for line in lines if name in line]
        assert training[name] == wanted
        assert [step for step, _ in wanted] == [2, 4, 6, 8, 10, 12]
    assert [epoch for epoch, _ in validation["accuracy/top1"]] == [1, 2, 3]
    # 16 blocks of (0.5² + 0.5²)·0.1, from which the training starts
    assert 0.5 < training["spem_penalty"][0][1] < 0.8 + 1e-6
    assert training["spem_penalty"][-1][1] < training["spem_penalty"][0][1]


def test_a_later_run_replaces_what_it_trained_again(tmp_path, tool):
    def write(name, steps, value):
        folder = tmp_path / name / "vis_data"
        folder.mkdir(parents=True)
        lines = []
        for step in steps:
            lines.append({"spem_lambda/a": value, "step": step})
            lines.append({"loss": value, "iter": step, "epoch": step, "step": step})
            lines.append({"accuracy/top1": value, "step": step})
        text = "\n".join(map(json.dumps, lines))
        (folder / "scalars.json").write_text(text + '\n{"spem_lam')  # killed

    write("20260101_000000", [1, 2, 3, 4], 0.1)
    write("20260101_000001", [3, 4, 5], 0.2)
    (tmp_path / "20260101_000002").mkdir()  # of a test
    training, validation = tool.collect(tool.read_work_dir(tmp_path))
    wanted = [(1, 0.1), (2, 0.1), (3, 0.2), (4, 0.2), (5, 0.2)]
    assert training["spem_lambda/a"] == training["loss"] == wanted
    assert validation["accuracy/top1"] == wanted
    write("20260101_000003", [1, 2], 0.3)  # from the start again
    training, _ = tool.collect(tool.read_work_dir(tmp_path))
    assert training["spem_lambda/a"] == [(1, 0.3), (2, 0.3)]


@pytest.mark.parametrize("count", [1, 54])
def test_any_number_of_blocks(tmp_path, tool, count):
    values = np.linspace(0, 1, count)
    lambdas = {f"layer1.{i}": [(1, 0.5), (9, v)] for i, v in enumerate(values)}
    axes, bar = tool.draw_lambda(lambdas).axes
    assert len(axes.lines) == count + 1  # and the line at 0.5
    labels = [label.get_text() for label in bar.get_yticklabels()]
    assert labels[0] == "layer1.0" and labels[-1] == f"layer1.{count - 1}"
    assert len(labels) <= tool.MAX_NAMES
    colors = {line.get_color().tobytes() for line in axes.lines[:count]}
    assert len(colors) == count


def test_errors_are_one_line(trained, tool, tmp_path, error_of):
    def error(work_dir):
        line = error_of(tool, work_dir)
        assert str(work_dir) in line
        return line

    error(tmp_path / "absent")
    assert "scalars.json" in error(tmp_path)
    first = min(trained.glob("*/vis_data/scalars.json"))
    lines = [line for line in first.read_text().splitlines() if "lambda" not in line]
    (tmp_path / "run/vis_data").mkdir(parents=True)
    (tmp_path / "run/vis_data/scalars.json").write_text("\n".join(lines))
    assert "custom_hooks=[dict(type='attnpool_mm.SPEMLoggerHook')]" in error(tmp_path)
    (tmp_path / "run/vis_data/scalars.json").write_text("{\n" + lines[0])
    assert "scalars.json, line 1: " in error(tmp_path)


def test_training_without_the_penalty_says_so(config, tmp_path):
    """What the docstrings promise of `tools/train.py`."""
    shutil.copy(config, tmp_path)
    path = tmp_path / config.name
    text = path.read_text().replace("constructor='attnpool_mm.SPEM", "#")
    path.write_text(text.replace("indices=256", "indices=8") + ")\n")
    options = ["--no-validate", "--work-dir", tmp_path, "--cfg-options"]
    run_tool("train.py", path, *options, "train_cfg.max_epochs=1")
    (line,) = warnings_of_spem(tmp_path)
    assert "WARNING - 16 SPEM layers" in line and "alpha > 0" in line
