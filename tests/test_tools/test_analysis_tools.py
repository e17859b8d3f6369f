"""MMDetection's and MMPretrain's tools that look at a trained network, on ours."""

import json
import pickle
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from config_runs import build_model
from crafted_checkpoints import Traps, craft
from framework_runs import configs_and_images, tool_runner  # noqa: F401 (fixtures)
from kill_points import forked, limit_file_size
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from tool_modules import load_tool

from attnpool_mm.checkpoint import load_checkpoint_file
from attnpool_mm.datasets import Digits
from attnpool_mm.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]
CLASSES = dict(dataset_meta=dict(classes=tuple("0123456789")))
BOXES = [[8.0, 8.0, 20.0 + i, 30.0] for i in range(4)]  # x, y, width, height
YOLO = f"""
_base_ = ['{ROOT}/configs/detection/yolov3/'
          'yolov3_mobilenetv2-nlp-block-end_8xb24-320-300e_coco8.py']
dataset = dict(
    _delete_=True, type='CocoDataset', data_root='./', ann_file='boxes.json',
    data_prefix=dict(img='images/'), metainfo=dict(classes=tuple('0123456789')),
    pipeline=[dict(type='LoadImageFromFile')])
train_dataloader = dict(dataset=dataset)
"""
# The classifier, quick to train: fold by fold of eight images
FOLDS = """
_base_ = './classifier.py'
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False,
                        dataset=dict(indices=8))
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
model = dict(backbone=dict(depth=8))
max_epochs = 1
train_cfg = dict(max_epochs=1)
param_scheduler = dict(_delete_=True, type='ConstantLR', factor=1)
"""


@pytest.fixture(scope="module")
def weights(folder):
    """A checkpoint for each config, as a training's; its weights are random."""
    (folder / "yolo.py").write_text(YOLO)
    (folder / "folds.py").write_text(FOLDS)
    state = {}
    for name in ("classifier", "detector"):
        model = build_model(Config.fromfile(folder / f"{name}.py"))
        state[name] = model.state_dict()
        history = dict(loss=HistoryBuffer([1.0], [1]))
        saved = dict(
            state_dict=state[name],
            meta=dict(epoch=1, iter=1, cfg="data_root = '/private/'", **CLASSES),
            optimizer=dict(state={}, param_groups=[]),
            message_hub=dict(log_scalars=history, runtime_info={}, resumed_keys={}),
        )
        torch.save(saved, folder / f"{name}.pth")
    return state


@pytest.fixture
def error(tool, capfd):
    """The one line of a tool that fails."""

    def run(script, *arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            tool(script, *arguments)
        assert stop.value.code == 2
        lines = capfd.readouterr().err.splitlines()
        (line,) = [line for line in lines if line.startswith("error: ")]
        assert lines[-1] == line
        return line

    return run


def detections():
    """Of four objects the first is not found; the third has another class, too."""
    found = []
    for i, (x, y, width, height) in enumerate(BOXES):
        box = torch.tensor([[x, y, x + width, y + height]])[: i > 0]
        instances = dict(
            bboxes=box, scores=torch.ones(len(box)), labels=torch.tensor([i])[: i > 0]
        )
        sizes = dict(img_id=i, ori_shape=(64, 64))
        found.append(dict(pred_instances=instances, **sizes))
    return found


def test_best_and_worst_images_of_a_detector(folder, tool):
    (folder / "found.pkl").write_bytes(pickle.dumps(detections()))
    script = "analysis_tools/analyze_results.py"
    tool(script, "detector.py", "found.pkl", "shown", "--topk", 1)
    (worst,) = (folder / "shown/bad").iterdir()
    (best,) = (folder / "shown/good").iterdir()
    assert worst.name == "0_0.0.png"
    assert re.fullmatch(r"[123]_1\.0\.png", best.name)


def test_best_and_worst_images_of_a_classifier(folder, tool):
    labels = torch.tensor(Digits(split="test", indices=40).get_gt_labels())
    results = []
    for index, label in enumerate(labels):
        taken = (label + (index < 3)) % 10  # three are wrong
        scores = torch.nn.functional.one_hot(taken, 10) * (0.5 + index / 100)
        named = dict(sample_idx=index, gt_label=label[None], pred_label=taken[None])
        results.append(dict(named, pred_score=scores))
    (folder / "classes.pkl").write_bytes(pickle.dumps(results))
    tool(
        "analysis_tools/analyze_results.py",
        *("classifier.py", "classes.pkl", "--out-dir", "looked", "--topk", 4),
    )
    names = {
        kind: {path.stem for path in (folder / "looked" / kind).glob("*.png")}
        for kind in ("success", "fail")
    }
    # the least certain of each
    assert names == {"success": {"3", "4", "5", "6"}, "fail": {"0", "1", "2"}}


def test_causes_of_errors(folder, tool, error):
    """Of two classes, and without the groups of classes that the script asks for."""
    script = "analysis_tools/coco_error_analysis.py"
    found = [dict(image_id=1, category_id=1, bbox=BOXES[1], score=0.9)]
    (folder / "found.bbox.json").write_text(json.dumps(found))
    (folder / "none.bbox.json").write_text("[]")
    truth = json.loads((folder / "boxes.json").read_text())
    truth["categories"] = truth["categories"][:2]
    truth["annotations"] = truth["annotations"][:2]
    (folder / "two.json").write_text(json.dumps(truth))
    tool(script, "detector.py", "found.bbox.json", "causes", "--ann", "two.json")
    pictures = {path.name for path in (folder / "causes/bbox").iterdir()}
    sizes = ("allarea", "small", "medium", "large")
    names = {f"bbox-{kind}-{s}.png" for kind in ("allclass", "0", "1") for s in sizes}
    assert pictures == names
    assert "no detection" in error(script, "detector.py", "none.bbox.json", "causes")
    assert "absent.json" in error(script, "detector.py", "absent.json", "causes")
    words = ("found.bbox.json", "causes", "--ann", "found.bbox.json")  # no annotations
    assert "COCO's form" in error(script, "detector.py", *words)


def test_the_annotations_are_those_of_the_test(folder):
    module = load_tool("analysis_tools/coco_error_analysis.py")
    cfg = Config.fromfile(folder / "detector.py")
    assert Path(module.annotation_file(cfg)) == folder / "boxes.json"
    cfg.test_evaluator = [dict(type="Other"), cfg.test_evaluator]
    assert Path(module.annotation_file(cfg)) == folder / "boxes.json"
    cfg.test_evaluator = []
    with pytest.raises(ConfigError, match="--ann"):
        module.annotation_file(cfg)


def test_images_a_second(folder, tool, error, weights):
    script = "analysis_tools/benchmark.py"
    options = ("--task", "inference", "--num-warmup", 1)
    for name in ("classifier", "detector"):
        words = (script, f"{name}.py", *options, "--checkpoint", f"{name}.pth")
        tool(*words, "--max-iter", 4, "--log-interval", 2, "--work-dir", "speed")
        log = (folder / "speed/benchmark.log").read_text()
        assert float(re.search(r"Overall fps: ([\d.]+)", log)[1]) > 0
    assert "nothing was measured" in error(*words, "--log-interval", 10)
    foreign = (*words[:-1], "classifier.pth", "--log-interval", 2)
    assert "classifier.pth" in error(*foreign)
    assert "--checkpoint" in error(script, "detector.py", *options)


def test_anchors_are_those_of_the_boxes(folder, tool, weights):
    """All boxes are 30 pixels high, 20 to 23 wide, in images of 64, shown as 320."""
    script = "analysis_tools/optimize_anchors.py"
    options = ("--algorithm", "k-means", "--output-dir", "anchors", "--iters", 20)
    tool(script, "yolo.py", *options)
    found = json.loads((folder / "anchors/anchor_optimize_result.json").read_text())
    assert len(found) == 9
    real = [size for size in found if size != [0, 0]]  # some are of no box
    assert real
    assert all(height == 150 and 100 <= width <= 115 for width, height in real)


def test_a_detector_under_corruptions(folder, tool, error, weights):
    pytest.importorskip("imagecorruptions")
    script = "analysis_tools/test_robustness.py"
    words = (script, "detector.py", "detector.pth")
    options = ("--corruptions", "contrast", "--severities", 0, 2, "--out", "bad.pkl")
    tool(*words, *options, "--work-dir", "corrupted")
    results = pickle.loads((folder / "bad_results.pkl").read_bytes())
    assert list(results) == ["contrast"] and set(results["contrast"]) == {0, 2}
    assert all("coco/bbox_mAP" in metrics for metrics in results["contrast"].values())
    assert "--out" in error(*words)
    assert "--out" in error(*words, *options[:-1], "bad.json")
    foreign = (script, "detector.py", "classifier.pth", *options)
    assert "classifier.pth" in error(*foreign)


def test_folds(folder, tool, weights):
    script = "analysis_tools/kfold_cross_valid.py"
    tool(script, "folds.py", "--num-splits", 2, "--seed", 1, "--work-dir", "folds")
    for fold in (0, 1):
        checkpoint = load_checkpoint_file(folder / f"folds/fold{fold}/epoch_1.pth")
        assert checkpoint["meta"]["iter"] == 2  # of half of the eight images, by two
    # Where both start in one second, MMEngine writes their logs to one file
    logs = folder.glob("folds/fold?/*/vis_data/scalars.json")
    assert sum(log.read_text().count("accuracy/top1") for log in logs) == 2


@pytest.mark.parametrize(
    ("name", "trust"), [("classifier", ["--trust-checkpoint"]), ("detector", [])]
)
def test_a_published_checkpoint(folder, tool, error, weights, name, trust):
    script = "model_converters/publish_model.py"
    words = (script, f"{name}.py", f"{name}.pth", f"public-{name}.pth")
    tool(*words, *trust)
    for _ in range(100):  # MMDetection's script leaves the renaming to a process
        found = list(folder.glob(f"public-{name}[_-]*.pth"))
        if found and not (folder / words[-1]).exists():
            break
        time.sleep(0.1)
    (path,) = found
    assert b"/private/" in (folder / f"{name}.pth").read_bytes()
    assert b"/private/" not in path.read_bytes()
    published = load_checkpoint_file(path)
    assert set(published) == {"meta", "state_dict"}
    assert published["meta"]["dataset_meta"]["classes"] == tuple("0123456789")
    assert published["state_dict"].keys() == weights[name].keys()
    for key, value in weights[name].items():
        assert torch.equal(published["state_dict"][key], value)
    other = {"classifier": "detector", "detector": "classifier"}[name]
    assert f"{other}.pth" in error(script, f"{name}.py", f"{other}.pth", "x.pth")


@pytest.mark.parametrize("name", ["classifier", "detector"])
def test_without_room_nothing_is_published(folder, error, weights, name):
    before = set(folder.iterdir())

    def full():
        limit_file_size(10_000)
        script = "model_converters/publish_model.py"
        words = (f"{name}.py", f"{name}.pth", "full.pth", "--trust-checkpoint")
        message = error(script, *words)
        assert "target" in message and "full.pth: it cannot be written" in message

    assert forked(full) == 0
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize(
    "words",
    [
        "analysis_tools/test_robustness.py detector.py evil.pth --out evil.pkl",
        "analysis_tools/benchmark.py detector.py --checkpoint evil.pth "
        "--task inference",
        "model_converters/publish_model.py detector.py evil.pth public.pth",
        "analysis_tools/kfold_cross_valid.py folds.py --num-splits 2 --resume "
        "--work-dir resumed",
    ],
)
def test_checkpoints_are_data(folder, error, weights, words):
    traps = Traps(folder, folder / "work")
    good = load_checkpoint_file(folder / "detector.pth")
    craft("os.system", good, traps).rename(folder / "evil.pth")
    (folder / "resumed").mkdir(exist_ok=True)
    resumed = dict(fold=0, last_ckpt="evil.pth", kfold_split_seed=1)
    (folder / "resumed/kfold_exp.json").write_text(json.dumps(resumed))
    assert "evil.pth: refused: it names" in error(*words.split())
    assert traps.untouched()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("analyze_results.py absent.py a.pkl b", "absent.py"),
        ("analyze_results.py detector.py absent.pkl b", "absent.pkl"),
        ("analyze_results.py detector.py detector.pth b", "detector.pth after"),
        ("benchmark.py odd.py", "batch_sise"),
        ("optimize_anchors.py detector.py", "YOLOAnchorGenerator"),
        ("optimize_anchors.py classifier.py", "detectors"),
        ("optimize_anchors.py yolo.py --algorithm means", "k-means"),
        ("test_robustness.py classifier.py a.pth", "robustness.py"),
        ("coco_error_analysis.py classifier.py a.json b", "detectors"),
        ("coco_error_analysis.py detector.py", "FILE.bbox.json"),
        ("kfold_cross_valid.py detector.py --num-splits 2", "classifiers"),
        ("kfold_cross_valid.py folds.py --num-splits 1", "--num-splits=1"),
        ("kfold_cross_valid.py folds.py --num-splits 2 --fold=2", "0 to 1"),
        ("kfold_cross_valid.py folds.py --num-splits 2 --seed 0", "--seed=0"),
        ("shape_bias.py", "csv-dir"),
        ("shape_bias.py --csv-dir images --result-dir b", "no csv file"),
        ("shape_bias.py --csv-dir=csv --result-dir b", "icons"),
    ],
)
def test_errors_are_one_line(folder, error, weights, monkeypatch, words, said):
    odd = "_base_ = './detector.py'\ntest_dataloader = dict(batch_sise=1)\n"
    (folder / "odd.py").write_text(odd)
    (folder / "csv").mkdir(exist_ok=True)
    (folder / "csv/subject-01.csv").touch()
    script, *arguments = words.split()
    if script == "shape_bias.py":  # which asks for pandas first
        frame = type("DataFrame", (), {})
        pandas = SimpleNamespace(DataFrame=frame)
        monkeypatch.setitem(sys.modules, "pandas", pandas)
    assert said in error(f"analysis_tools/{script}", *arguments)


def test_a_missing_package_is_named(error, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert "pip install pandas" in error("analysis_tools/shape_bias.py")


def test_help_is_the_scripts(tool, weights):
    for script in ("benchmark.py", "coco_error_analysis.py", "test_robustness.py"):
        with pytest.raises(SystemExit) as stop:
            tool(f"analysis_tools/{script}", "detector.py", "--help")
        assert not stop.value.code
