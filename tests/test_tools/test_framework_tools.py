"""MMPretrain's and MMDetection's own scripts, on our configs and logs."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from framework_runs import configs_and_images, tool_runner  # noqa: F401 (fixtures)
from matplotlib import pyplot as plt
from mmengine.config import Config
from tool_modules import load_tool

from attnpool_mm.datasets import Digits
from attnpool_mm.engine import framework_tools
from attnpool_mm.utils.errors import ConfigError

TOOLS = Path(__file__).parents[2] / "tools"
WRAPPERS = [
    path.relative_to(TOOLS).as_posix()
    for path in sorted(TOOLS.rglob("*.py"))
    if "engine.framework_tools import" in path.read_text()
]


@pytest.fixture(scope="module")
def predictions(folder):
    """What `test.py --out` writes, made by hand.

    Of 40 digits 10 are taken for the next one; of 4 objects one is not found.
    """
    digits = Digits(split="test", indices=40)
    labels = torch.tensor(digits.get_gt_labels())
    taken = labels.clone()
    taken[:10] = (taken[:10] + 1) % 10
    scores = torch.nn.functional.one_hot(taken, 10).float()
    classified = [
        dict(pred_score=s, pred_label=t[None], gt_label=g[None], num_classes=10)
        for s, t, g in zip(scores, taken, labels, strict=True)
    ]
    detected = []
    for i in range(4):
        found = dict(
            bboxes=torch.tensor([[8.0, 8, 28 + i, 38]])[: i > 0],
            scores=torch.ones(int(i > 0)),
            labels=torch.tensor([i])[: i > 0],
        )
        size = dict(img_id=i, ori_shape=(64, 64))
        detected.append(dict(pred_instances=found, **size))
    for name, data in (("classifier", classified), ("detector", detected)):
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(data))
    return labels, taken


def test_print_config(folder, tool):
    text = tool("misc/print_config.py", "detector.py").removeprefix("Config:\n")
    (folder / "printed.py").write_text(text)
    printed = Config.fromfile(folder / "printed.py")
    expected = Config.fromfile(folder / "detector.py")
    for key in ("model", "optim_wrapper", "train_dataloader", "test_evaluator"):
        assert printed[key] == expected[key]


@pytest.mark.parametrize(("name", "count"), [("classifier", 3), ("detector", 4)])
def test_browse_dataset(folder, tool, name, count):
    out = folder / f"{name} pictures"
    tool(
        "analysis_tools/browse_dataset.py",
        *(f"{name}.py", "--not-show", "--output-dir", out),
    )
    pictures = [cv2.imread(str(path)) for path in out.iterdir()]
    assert len(pictures) == count
    assert all(picture.std() > 0 for picture in pictures)


def test_eval_metric(tool, predictions):
    out = tool("analysis_tools/eval_metric.py", "classifier.py", "classifier.pkl")
    assert "{'accuracy/top1': 75.0}" in out
    out = tool("analysis_tools/eval_metric.py", "detector.py", "detector.pkl")
    assert "'coco/bbox_mAP': 0.75" in out  # three of four classes found, exactly


def test_weights_of_another_network_are_not_judged(folder, tool, capfd):
    torch.save({"state_dict": {"x": torch.ones(1)}}, folder / "other.pth")
    with pytest.raises(SystemExit):
        tool("analysis_tools/confusion_matrix.py", "classifier.py", "other.pth")
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and "other.pth" in error


def test_confusion_matrix(folder, tool, predictions):
    script = "analysis_tools/confusion_matrix.py"
    tool(
        script,
        *("classifier.py", "classifier.pkl"),
        *("--out", "matrix.pkl", "--show-path", "matrix.png"),
    )
    matrix = pickle.loads((folder / "matrix.pkl").read_bytes())
    expected = np.zeros((10, 10))
    for label, taken in zip(*predictions, strict=True):
        expected[label, taken] += 1
    assert np.array_equal(np.asarray(matrix), expected)
    assert cv2.imread(str(folder / "matrix.png")) is not None
    tool(script, "detector.py", "detector.pkl", "detector matrix")
    assert (folder / "detector matrix/confusion_matrix.png").is_file()


class TestLogs:
    SCRIPT = "analysis_tools/analyze_logs.py"

    def write(self, work_dir, scope, metric, end="", run=0, epochs=(1, 2)):
        """The log of two epochs of three iterations, with SPEM's records."""
        folder = work_dir / f"20260101_00000{run}/vis_data"
        folder.mkdir(parents=True)
        (folder / "config.py").write_text(f"default_scope = '{scope}'\n")
        lines = []
        for epoch in epochs:
            for step in range(3 * epoch - 2, 3 * epoch + 1):
                lines.append({"spem_lambda/layer1.0": 0.5, "step": step})
                scalars = {"lr": 0.1, "time": epoch / 10, "loss": 1 / step}
                counts = {"epoch": epoch, "iter": step, "step": step}
                lines.append({**scalars, **counts})
            lines.append({metric: epoch / 4, "time": 0.1, "step": epoch})
        text = "\n".join(map(json.dumps, lines)) + "\n" + end
        (folder / "scalars.json").write_text(text)
        # a later test leaves a log without a training
        later = work_dir / "20260101_000009/vis_data"
        later.mkdir(parents=True, exist_ok=True)
        (later / "scalars.json").write_text('{"accuracy/top1": 1, "step": 0}\n')
        return work_dir

    @pytest.mark.parametrize(
        ("scope", "metric", "key", "end"),
        [
            ("mmpretrain", "accuracy/top1", "accuracy/top1", '{"spem_lam'),  # killed
            ("mmdet", "coco/bbox_mAP", "bbox_mAP", ""),
        ],
    )
    def test_curves_and_time(self, tool, tmp_path, scope, metric, key, end):
        work_dir = self.write(tmp_path / "run", scope, metric, end)
        picture = tmp_path / "curve.png"
        out = tool(
            self.SCRIPT,
            *("plot_curve", work_dir, "--keys", "loss", key, "--out", picture),
        )
        assert f"metric is {key}" in out
        drawn = cv2.imread(str(picture))
        assert 0.001 < (drawn < 200).any(2).mean() < 0.5
        out = tool(self.SCRIPT, "cal_train_time", work_dir)
        assert "slowest epoch 2, average time is 0.2" in out

    @pytest.mark.parametrize("first", [1, 3])
    @pytest.mark.parametrize("key", ["bbox_mAP", "coco/bbox_mAP"])
    def test_a_resumed_training(self, tool, tmp_path, monkeypatch, first, key):
        """Its runs are one curve; where the first is lost, the rest is drawn."""
        epochs = range(first, 6)
        self.write(tmp_path, "mmdet", "coco/bbox_mAP", epochs=epochs[:-2])
        self.write(tmp_path, "mmdet", "coco/bbox_mAP", run=1, epochs=epochs[-3:])
        drawn = []
        monkeypatch.setattr(
            plt, "plot", lambda x, y, **style: drawn.append((list(x), list(y)))
        )
        picture = tmp_path / "curve.png"
        tool(self.SCRIPT, "plot_curve", tmp_path, "--keys", key, "--out", picture)
        ((x, y),) = drawn
        assert x == list(epochs)
        assert y == [epoch / 4 for epoch in epochs]

    def test_options_are_the_users(self):
        options = ["--keys", "loss", "--style=ggplot", "--eval-interval=2"]
        logs = [[dict(loss=1.0, epoch=1)]]
        kept = load_tool(self.SCRIPT).curve_options(options, logs, "mmdet")
        assert kept == options

    def test_errors_are_one_line(self, tool, tmp_path, capfd):
        self.write(tmp_path / "a", "mmpretrain", "accuracy/top1")
        self.write(tmp_path / "b", "mmdet", "coco/bbox_mAP")
        (tmp_path / "empty").mkdir()
        for words, message in [
            (["plot_curve"], "plot_curve|cal_train_time WORK_DIR"),
            (["cal_train_time", tmp_path / "no"], f"{tmp_path / 'no'}: "),
            (
                ["cal_train_time", tmp_path / "empty"],
                f"{tmp_path / 'empty'}: */vis_data",
            ),
            (["cal_train_time", tmp_path / "a", tmp_path / "b"], "the logs"),
            (["plot_curve", tmp_path / "b", "--keys", "bbox_map"], "'bbox_mAP'"),
            (["plot_curve", tmp_path / "a", "--keys", "lss"], "'loss'"),
        ]:
            with pytest.raises(SystemExit) as caught:
                tool(self.SCRIPT, *words)
            assert caught.value.code == 2
            error = capfd.readouterr().err
            assert error.startswith("error: ") and error.count("\n") == 1
            assert message in error


def test_options_of_the_config_hold_in_every_script(folder, tool, predictions):
    """They count for what is checked before it runs, and keep their spaces."""
    elsewhere = folder / "else where"
    elsewhere.mkdir()
    for name in ("images", "boxes.json"):
        (folder / name).rename(elsewhere / name)
    root = f"test_dataloader.dataset.data_root={elsewhere}"
    truth = f"test_evaluator.ann_file={elsewhere}/boxes.json"
    words = ("detector.py", "detector.pkl", "best", "--topk", 1)
    try:
        script = "analysis_tools/analyze_results.py"
        tool(script, *words, "--cfg-options", root, truth)
        out = tool("misc/print_config.py", "detector.py", "--cfg-options", root)
    finally:
        for name in ("images", "boxes.json"):
            (elsewhere / name).rename(folder / name)
    assert len(list((folder / "best/good").iterdir())) == 1
    assert f"{elsewhere}'" in out


@pytest.mark.parametrize("script", WRAPPERS)
def test_help_without_a_config(tool, capfd, script):
    with pytest.raises(SystemExit) as caught:
        tool(script, "--help")
    assert caught.value.code == 0
    assert Path(script).name in capfd.readouterr().out


def test_config_comes_first(tool, capfd):
    for words, message in (
        ([], "CONFIG [options]"),
        (["detector.py", "--cfg-options", "modle.x=1"], "modle"),
        (["absent.py"], "absent.py"),
    ):
        with pytest.raises(SystemExit) as caught:
            tool("misc/print_config.py", *words)
        assert caught.value.code == 2
        error = capfd.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        assert message in error


def test_a_package_without_tools_is_one_line():
    with pytest.raises(ConfigError, match="mmengine .* misc/print_config.py"):
        framework_tools.find_tool("mmengine", ["misc/print_config.py"])
