"""The real scripts, on a small classifier and a small detector."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import tool_modules
import torch
from mmdet.registry import MODELS as DETECTORS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, DefaultScope, init_default_scope
from mmpretrain.registry import MODELS

from attnpool_mm.checkpoint import load_checkpoint_file

TOOLS = Path(__file__).parents[2] / "tools"
CLASSIFIER = """
default_scope = 'mmpretrain'
data_root = '{root}'
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=8, num_workers=0,
    dataset=dict(type='CustomDataset', data_root=data_root, data_prefix='train',
                 pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(
    batch_size=4, num_workers=0,
    dataset=dict(type='CustomDataset', data_root=data_root, data_prefix='val',
                 pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy')
test_evaluator = val_evaluator
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, base_channels=4, stem_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=32))
data_preprocessor = dict(num_classes=2, mean=[110] * 3, std=[50] * 3)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9))
param_scheduler = dict(type='MultiStepLR', milestones=[10])
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=1)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    visualization=dict(type='VisualizationHook'))
visualizer = dict(
    type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
randomness = dict(seed=0)
"""
DETECTOR = """
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py',
          'mmdet::_base_/default_runtime.py']
train_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64)), dict(type='PackDetInputs')]
test_pipeline = train_pipeline[:-1] + [
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
dataset = dict(type='CocoDataset', data_root='{root}', ann_file='boxes.json',
               data_prefix=dict(img='val/blue'), metainfo=dict(classes=('patch',)))
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(pipeline=train_pipeline, **dataset),
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(
    batch_size=1, num_workers=0, persistent_workers=True,
    dataset=dict(pipeline=test_pipeline, test_mode=True, **dataset),
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file='{root}/boxes.json', metric='bbox')
test_evaluator = val_evaluator
model = dict(
    backbone=dict(depth=18, base_channels=4, init_cfg=None),
    neck=dict(in_channels=[4, 8, 16, 32], out_channels=8),
    bbox_head=dict(num_classes=1, in_channels=8, feat_channels=8, stacked_convs=1),
    test_cfg=dict(score_thr=0.0))
default_hooks = dict(logger=dict(interval=1))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
"""


def run(script, *args, cwd):
    """Run a script of `tools/` from `cwd`, without the package on the path."""
    command = ["bash"] if script.endswith(".sh") else [sys.executable]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [*command, str(TOOLS / script), *map(str, args)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def succeed(script, *args, cwd):
    done = run(script, *args, cwd=cwd)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def logged(work_dir, key):
    """All values of `key` in the run's log, in order."""
    (log,) = Path(work_dir).glob("*/vis_data/scalars.json")
    lines = map(json.loads, log.read_text().splitlines())
    return [line[key] for line in lines if key in line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures in two colours, a fifth of the test pictures in the wrong folder."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 10)):
        for label, name in enumerate(("blue", "red")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                picture = generator.integers(0, 120, (16, 16, 3), dtype=np.uint8)
                wrong = split == "val" and i < 2
                picture[..., 2 * (label != wrong)] += 100
                cv2.imwrite(str(root / split / name / f"{name}{i}.png"), picture)
    (root / "tiny.py").write_text(CLASSIFIER.format(root=root))
    (root / "detector.py").write_text(DETECTOR.format(root=root))
    names = [f"blue{i}.png" for i in range(4)]
    size = {"height": 16, "width": 16}
    box = {"bbox": [2, 3, 8, 9], "area": 72, "iscrowd": 0, "category_id": 1}
    boxes = {
        "images": [{"id": i, "file_name": n, **size} for i, n in enumerate(names)],
        "annotations": [{"id": i, "image_id": i, **box} for i in range(4)],
        "categories": [{"id": 1, "name": "patch"}],
    }
    (root / "boxes.json").write_text(json.dumps(boxes))
    return root


@pytest.fixture(scope="module")
def trained(folder):
    """The work folder of two of the three epochs of the config."""
    work_dir = folder / "trained"
    succeed(
        "train.py",
        "tiny.py",
        *("--work-dir", work_dir),
        *("--cfg-options", "train_cfg.max_epochs=2"),
        cwd=folder,
    )
    return work_dir


@pytest.fixture(scope="module")
def model(folder, trained):
    """The trained model, put together without the tools."""
    cfg = Config.fromfile(folder / "tiny.py")
    init_default_scope("mmpretrain")
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model).eval()
    weights = load_checkpoint_file(trained / "epoch_2.pth")["state_dict"]
    model.load_state_dict(weights)
    return model


def scores_of(model, folder, flips):
    """Class scores of the test pictures in order, averaged over mirror images."""
    scores = []
    for path in sorted(folder.glob("val/*/*.png")):
        picture = torch.from_numpy(cv2.imread(str(path))).permute(2, 0, 1).float()
        batch = torch.stack([picture.flip(-1) if flip else picture for flip in flips])
        with torch.no_grad():
            logits = model((batch - 110) / 50)
        scores.append(logits.softmax(dim=1).mean(dim=0))
    return torch.stack(scores)


def accuracy_of(scores):
    return 100 * (scores.argmax(1) == torch.arange(20) // 10).float().mean().item()


def test_training_learns_and_leaves_its_files(folder, trained):
    assert {"epoch_1.pth", "epoch_2.pth"} <= {f.name for f in trained.iterdir()}
    losses = logged(trained, "loss")
    assert len(losses) == 8  # --cfg-options: 2 epochs of 32 / 8 steps
    assert np.mean(losses[-2:]) < 0.8 * np.mean(losses[:2])


def test_metrics_are_those_of_training_and_of_the_model(folder, trained, model):
    done = succeed(
        "test.py",
        *("tiny.py", trained / "epoch_2.pth"),
        *("--out", "metrics.json"),
        *("--show-dir", "pictures", "--interval", "5"),
        cwd=folder,
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == {"accuracy/top1": logged(trained, "accuracy/top1")[-1]}
    expected = accuracy_of(scores_of(model, folder, [False]))
    assert metrics["accuracy/top1"] == pytest.approx(expected)
    assert 50 < expected < 100
    pictures = sorted((folder / "pictures").iterdir())
    assert len(pictures) == 20 // 5, done.stderr
    assert all(cv2.imread(str(picture)) is not None for picture in pictures)
    assert (folder / "work_dirs" / "tiny").is_dir()  # the default work folder


@pytest.fixture
def tool(folder, monkeypatch, tools_undone, output_of):
    """Run a tool in this process, from the folder of the pictures."""
    monkeypatch.chdir(folder)

    def run(script, *args):
        time.sleep(1 - time.time() % 1)  # MMEngine names a run by its second
        return output_of(tool_modules.load_tool(script), *args)

    return run


def test_predictions_with_test_time_augmentation(folder, trained, model, tool):
    tool(
        "test.py",
        *("tiny.py", trained / "epoch_2.pth"),
        *("--tta", "--out", "predictions.pkl", "--work-dir", "tta"),
        *("--cfg-options", "model.head.topk=1,"),
    )
    with open(folder / "predictions.pkl", "rb") as file:
        predictions = pickle.load(file)
    scores = torch.stack([prediction["pred_score"] for prediction in predictions])
    expected = scores_of(model, folder, [True, False])
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    without = scores_of(model, folder, [False])
    assert not torch.allclose(expected, without, rtol=1e-4, atol=1e-5)


def test_resume_goes_on_with_mixed_precision(folder, trained, tool, monkeypatch):
    work_dir = folder / "resumed"
    work_dir.mkdir()
    (work_dir / "epoch_2.pth").write_bytes((trained / "epoch_2.pth").read_bytes())
    (work_dir / "last_checkpoint").write_text(str(work_dir / "epoch_2.pth"))
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    tool(
        "train.py",
        folder / "tiny.py",
        *("--work-dir", work_dir, "--resume", "--amp", "--no-validate"),
    )
    assert logged(work_dir, "step") == [9, 10, 11, 12]  # after 2 epochs of 4
    assert set(logged(work_dir, "epoch")) == {3}
    assert not logged(work_dir, "accuracy/top1")
    assert max(logged(work_dir, "loss")) < logged(trained, "loss")[0]
    assert load_checkpoint_file(work_dir / "epoch_3.pth")["meta"]["epoch"] == 3


@HOOKS.register_module(force=True)
class Preempt(Hook):
    """Slurm, which sends SIGTERM in the second epoch."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if (runner.epoch, batch_idx) == (1, 1):
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_with_a_line_and_resume_goes_on(folder, tool, capsys):
    config = folder / "preempted.py"
    hook = "custom_hooks = [dict(type='mmengine.Preempt')]"
    config.write_text(f"_base_ = './tiny.py'\n{hook}\n")
    work_dir = folder / "preempted"
    with pytest.raises(SystemExit) as stop:
        tool("train.py", config, "--work-dir", work_dir, "--resume")
    assert stop.value.code == 143
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if "SIGTERM" in line]
    assert len(lines) == 1 and str(work_dir / "interrupted.pth") in lines[0]
    assert "Traceback" not in captured.err
    words = ("train.py", folder / "tiny.py", "--work-dir", work_dir, "--resume")
    out = tool(*words)
    assert "Reading over 2 batches" in out
    (first, second) = sorted(work_dir.glob("*/vis_data/scalars.json"))
    steps = [json.loads(line) for line in second.read_text().splitlines()]
    assert [line["step"] for line in steps if "loss" in line] == [*range(7, 13)]
    assert not (work_dir / "interrupted.pth").exists()


def test_two_processes_test_as_one(folder, trained):
    succeed(
        "dist_test.sh",
        *("tiny.py", trained / "epoch_2.pth", 2, "--out", "two processes.json"),
        cwd=folder,
    )
    metrics = json.loads((folder / "two processes.json").read_text())
    assert metrics["accuracy/top1"] == logged(trained, "accuracy/top1")[-1]


def test_a_detector_trains_and_tests(folder, tool):
    work_dir = folder / "detector"
    tool("train.py", "detector.py", "--work-dir", work_dir)
    assert len(logged(work_dir, "loss_bbox")) == 2  # 4 pictures in batches of 2
    assert len(logged(work_dir, "coco/bbox_mAP")) == 1
    tool(
        "test.py",
        *("detector.py", work_dir / "epoch_1.pth", "--work-dir", folder / "detected"),
        *("--tta", "--out", "boxes.pkl", "--show-dir", "boxes"),
        *("--cfg-options", "visualizer.name=of_the_test"),  # not the training's
    )
    with open(folder / "boxes.pkl", "rb") as file:
        predictions = pickle.load(file)
    assert [sample["img_id"] for sample in predictions] == [0, 1, 2, 3]
    assert all(len(sample["pred_instances"]["bboxes"]) for sample in predictions)
    assert all("gt_instances" not in sample for sample in predictions)
    names = {path.name for path in (folder / "boxes").iterdir()}
    assert names == {f"blue{i}.png" for i in range(4)}


YOLO = """
_base_ = './detector.py'
channels = [8, 8, 8]
model = dict(
    _delete_=True, type='YOLOV3',
    data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32),
    backbone=dict(type='MobileNetV2', out_indices=(2, 4, 6), widen_factor=0.25),
    neck=dict(type='YOLOV3Neck', num_scales=3, in_channels=[80, 24, 8],
              out_channels=channels),
    bbox_head=dict(
        type='YOLOV3Head', num_classes=1, in_channels=channels, out_channels=channels,
        anchor_generator=dict(
            type='YOLOAnchorGenerator', base_sizes=[[(32, 32)], [(16, 16)], [(8, 8)]],
            strides=[32, 16, 8]),
        bbox_coder=dict(type='YOLOBBoxCoder'), featmap_strides=[32, 16, 8]),
    test_cfg=dict(nms_pre=1000, min_bbox_size=0, score_thr=0.0, conf_thr=0.0,
                  nms=dict(type='nms', iou_threshold=0.45), max_per_img=100))
"""
on_a_cpu = pytest.mark.skipif(
    torch.cuda.is_available(), reason="for machines without GPU"
)


@on_a_cpu
@pytest.mark.parametrize("options", [
    [],
    ["--tta"],
    ["--cfg-options", "model.test_cfg.score_thr=2"],  # there is no detection, so no NMS
], ids=str)  # fmt: skip
def test_boxes_in_mixed_precision_are_refused_on_a_cpu(
    folder, trained, monkeypatch, tools_undone, error_of, options
):
    monkeypatch.chdir(folder)
    # Which weights does not matter: they are not loaded before
    words = ("detector.py", trained / "epoch_2.pth", "--amp", "--work-dir", "amp")
    error = error_of(tool_modules.load_tool("test.py"), *words, *options)
    assert "--amp" in error and "RetinaNet" in error and "bfloat16" in error


@on_a_cpu
@pytest.mark.parametrize("options", [[], ["--tta"]], ids=str)
def test_a_detector_of_float32_boxes_is_tested_in_mixed_precision(
    folder, tool, options
):
    (folder / "yolo.py").write_text(YOLO)
    cfg = Config.fromfile(folder / "yolo.py")
    with DefaultScope.overwrite_default_scope("mmdet"):
        state = DETECTORS.build(cfg.model).state_dict()
    torch.save(dict(state_dict=state), folder / "yolo.pth")
    words = ("--amp", "--out", "yolo.pkl", "--work-dir", "yolo", *options)
    tool("test.py", "yolo.py", "yolo.pth", *words)
    with open(folder / "yolo.pkl", "rb") as file:
        predictions = pickle.load(file)
    boxes = [sample["pred_instances"]["bboxes"] for sample in predictions]
    assert len(boxes) == 4 and all(len(b) and b.dtype == torch.float32 for b in boxes)


@on_a_cpu
def test_a_classifier_is_tested_in_mixed_precision(folder, trained, model, tool):
    words = ("--amp", "--out", "amp.pkl", "--work-dir", "amp_classifier")
    tool("test.py", "tiny.py", trained / "epoch_2.pth", *words)
    with open(folder / "amp.pkl", "rb") as file:
        scores = torch.stack([one["pred_score"] for one in pickle.load(file)]).float()
    whole = scores_of(model, folder, [False])
    torch.testing.assert_close(scores, whole, rtol=0.1, atol=0.05)
    assert not torch.allclose(scores, whole, rtol=1e-5, atol=1e-6)  # it is bfloat16


def test_checkpoint_with_code_is_refused(folder, trained, tool, error_of):
    class Trap:
        def __reduce__(self):
            return os.system, (f"touch {folder / 'ran'}",)

    weights = load_checkpoint_file(trained / "epoch_2.pth")["state_dict"]
    torch.save({"state_dict": weights, "x": Trap()}, folder / "evil.pth")
    error = error_of(tool_modules.load_tool("test.py"), "tiny.py", "evil.pth")
    assert "evil.pth: refused" in error and "--trust-checkpoint" in error
    assert not (folder / "ran").exists()
    # the option is what makes the difference
    tool("test.py", "tiny.py", "evil.pth", "--trust-checkpoint")
    assert (folder / "ran").exists()


@pytest.mark.parametrize("script", ["test.py", "visualization/pooling_weights.py"])
def test_weights_that_do_not_fit(folder, trained, tool, error_of, script):
    weights = load_checkpoint_file(trained / "epoch_2.pth")["state_dict"]
    count = sum(not name.endswith("num_batches_tracked") for name in weights)
    weights["head.fc.weight"] = weights["head.fc.weight"][:1]
    torch.save(weights, folder / "odd.pth")
    torch.save({f"x.{k}": v for k, v in weights.items()}, folder / "other.pth")
    arguments = ("tiny.py", "odd.pth", "--work-dir", "odd")
    error = error_of(tool_modules.load_tool(script), *arguments)
    assert "odd.pth" in error and f" {count} " in error
    assert "head.fc.weight" in error and "--partial" in error
    if script == "test.py":  # the other needs a network with pools
        tool(script, *arguments, "--partial")
    other = ("tiny.py", "other.pth", "--work-dir", "odd")
    assert f" {count} are not" in error_of(
        tool_modules.load_tool(script), *other, "--partial"
    )


@pytest.mark.parametrize("script", ["dist_train.sh", "dist_test.sh"])
def test_shell_scripts_say_what_they_need(folder, script):
    done = run(script, "tiny.py", cwd=folder)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("usage:") and "CONFIG" in line and "GPUS" in line


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train.py absent.py", ["absent.py"]),
        ("train.py tiny.py --auto-scale-lr", ["auto_scale_lr.base_batch_size"]),
        ("train.py tiny.py --resume absent.pth", ["absent.pth"]),
        (
            "train.py detector.py --cfg-options val_evaluator.ann_file=no.json",
            ["val_evaluator.ann_file", "'no.json'"],
        ),
        (
            "test.py detector.py . --cfg-options test_dataloader.dataset.ann_file=no",
            ["test_dataloader.dataset.ann_file", "data_root"],
        ),
        ("test.py tiny.py absent.pth", ["absent.pth"]),
        ("test.py tiny.py . --out-item pred", ["--out-item", "--out FILE"]),
        ("test.py tiny.py . --out a.txt", ["a.txt", ".pkl"]),
        ("test.py tiny.py . --out a.json --out-item pred", ["a.json", ".pkl"]),
        ("test.py tiny.py . --out folder.json", ["folder.json: it is a folder"]),
        ("test.py tiny.py . --out folder.pkl", ["folder.pkl: it is a folder"]),
        ("test.py tiny.py . --out tiny.py/a.json", ["--out", "tiny.py is a file"]),
        ("test.py tiny.py . --out /proc/a.json", ["--out", "cannot be written to"]),
        ("test.py tiny.py . --out /proc/a.pkl", ["--out", "cannot be written to"]),
        ("test.py untested.py . --amp", ["--amp", "test_cfg"]),
        ("test.py tiny.py . --tta --show-dir a", ["--show-dir", "--tta"]),
        ("test.py tiny.py . --show-dir a --interval 0", ["--interval", "0"]),
        ("test.py tiny.py . --show --wait-time nan", ["--wait-time", "nan"]),
    ],
)
def test_errors_are_one_line(
    folder, monkeypatch, tools_undone, error_of, command, words
):
    script, *args = command.split()
    monkeypatch.chdir(folder)
    for name in ("folder.json", "folder.pkl"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "untested.py").write_text("_base_ = './tiny.py'\ntest_cfg = None\n")
    error = error_of(tool_modules.load_tool(script), *args)
    assert all(word in error for word in words)
