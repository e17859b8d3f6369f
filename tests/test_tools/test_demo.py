"""The demo at a small size, and what a user does next with what it made."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from pages import Page
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tool_modules import load_tool

ROOT = Path(__file__).parents[2]


def run(*command):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env={"OMP_NUM_THREADS": "2", **os.environ},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


SIZES = {
    "small": dict(epochs=1, options=["--train-images=16", "--val-images=6"]),
    "learning": dict(epochs=4, options=["--train-images=120", "--val-images=12"]),
}


def arguments_of(work_dir, size):
    epochs = f"epochs={size['epochs']}"
    folder = f"--work-dir={work_dir}"
    return folder, f"--pretrain-{epochs}", f"--{epochs}", *size["options"]


@pytest.fixture(
    scope="module", params=["small", pytest.param("learning", marks=pytest.mark.slow)]
)
def demo(request, tmp_path_factory):
    """The classifier's part, as of `make demo-fast`, and then the rest."""
    work_dir = tmp_path_factory.mktemp("a demo, small")
    command = ["tools/demo.py", *arguments_of(work_dir, SIZES[request.param])]
    output = run(*command, "--classifier-only")
    assert "\n[2/2] " in output
    (work_dir / "report.html").rename(work_dir / "classifier.html")
    (work_dir / "stdout.txt").write_text(run(*command))
    return work_dir


def scalars(work_dir, key):
    file = min(work_dir.glob("*/vis_data/scalars.json"))  # of the demo's training
    lines = map(json.loads, file.read_text().splitlines())
    return [line[key] for line in lines if key in line]


@pytest.mark.slow
@pytest.mark.parametrize("demo", ["learning"], indirect=True)
def test_both_learn(demo):
    """And pycocotools says the demo's mAP of its predictions, and it resumes."""
    losses = scalars(demo / "classifier", "loss")
    assert losses[-1] < losses[0] / 2
    losses = scalars(demo / "detector", "loss")
    assert losses[-1] < losses[0]
    assert scalars(demo / "classifier", "accuracy/top1")[-1] > 80
    truth = COCO(demo / "data/annotations/val.json")
    found = truth.loadRes(str(demo / "predictions.bbox.json"))
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    metrics = json.loads((demo / "metrics.json").read_text())
    expected = [metrics["coco/bbox_mAP"], metrics["coco/bbox_mAP_50"]]
    assert [round(value, 3) for value in evaluation.stats[:2]] == expected
    assert expected[1] > 0
    run(
        "tools/train.py",
        "configs/demo/faster-rcnn_resnet18-half-nlp_fpn_digits-coco.py",
        f"--work-dir={demo}/detector",
        "--resume",
        "--cfg-options",
        *(
            f"{split}_dataloader.dataset.data_root='{demo}/data'"
            for split in ("train", "val", "test")
        ),
        *(
            f"{split}_evaluator.ann_file='{demo}/data/annotations/val.json'"
            for split in ("val", "test")
        ),
        f"model.backbone.init_cfg.checkpoint='{demo}/classifier/epoch_4.pth'",
        "train_cfg.max_epochs=5",
    )
    newest = max((demo / "detector").glob("*/vis_data/scalars.json"))
    epochs = {json.loads(line).get("epoch") for line in newest.open()}
    assert epochs - {None} == {5}


def test_every_weight_of_the_backbone_is_handed_over(demo):
    matched, tensors = re.search(
        r"(\d+) of (\d+) keys", (demo / "stdout.txt").read_text()
    ).groups()
    assert matched == tensors
    assert int(tensors) > 100


def test_the_evaluation_repeats_that_of_the_training(demo):
    metrics = json.loads((demo / "metrics.json").read_text())
    validated = scalars(demo / "detector", "coco/bbox_mAP_50")[-1:]
    assert [metrics[key] for key in metrics if key == "coco/bbox_mAP_50"] == validated


def test_the_classifier_is_not_trained_twice(demo):
    assert len(list((demo / "classifier").glob("*/vis_data/scalars.json"))) == 1
    first, second, rest = re.split(r"\[[23]/7\]", (demo / "stdout.txt").read_text())
    assert "Epoch(train)" not in first + second
    assert rest.count("Epoch(train)") > 0


def detected(demo):
    """The images on which something was detected, as the pictures are chosen."""
    results = json.loads((demo / "predictions.bbox.json").read_text())
    return {result["image_id"] for result in results if result["score"] >= 0.5}


def test_pictures_and_table(demo):
    captions = json.loads((demo / "detections/captions.json").read_text())
    assert len(captions) == min(9, len(detected(demo)))
    for name in captions:
        assert cv2.imread(str(demo / "detections" / name)).shape[1] == 2 * 512 + 8
    weights = sorted((demo / "pooling_weights").glob("*.png"))
    assert len(weights) == 4
    picture = cv2.imread(str(weights[0]))
    height, width = picture.shape[:2]
    assert width == 4 * 256 and height > 256  # the image and three pools
    table = (demo / "results.md").read_text()
    assert all(word in table for word in ("mAP", "mAP50", "parameters", "seconds"))


def test_the_report_shows_all_of_it(demo):
    page = Page((demo / "report.html").read_text())
    page.check_self_contained()
    captions = json.loads((demo / "detections/captions.json").read_text())
    files = [
        *(demo / "detections" / name for name in captions),
        *(demo / "classifier_weights").glob("*.png"),
        *(demo / "pooling_weights").glob("*.png"),
    ]
    shown = [content for _, _, content in page.images]
    assert len(shown) == len(files) + 2  # and the curves of both
    assert {file.read_bytes() for file in files} < set(shown)
    assert all(any(c in text for text in page.texts) for c in captions.values())
    metrics = json.loads((demo / "metrics.json").read_text())
    assert f"{metrics.get('coco/bbox_mAP_50', 0):.3f}" in page.texts
    assert str(demo / "report.html") in (demo / "stdout.txt").read_text()


def test_the_classifier_alone_again_leaves_the_report_of_both(demo, request, output_of):
    size = SIZES[request.node.callspec.params["demo"]]
    before = {
        name: (demo / name).read_bytes() for name in ("report.html", "results.md")
    }
    out = output_of(
        load_tool("demo.py"), *arguments_of(demo, size), "--classifier-only"
    )
    assert out.count("done before") == 2 and str(demo / "report.html") in out
    assert {name: (demo / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--epochs=0"], "--epochs=0"),
        (["--val-images=0"], "--val-images=0"),
        (["--seed=-1"], "--seed=-1"),
        (["--work-dir=tools/demo.py"], "--work-dir='tools/demo.py'"),
    ],
)
def test_wrong_arguments_are_one_line(error_of, monkeypatch, words, named):
    monkeypatch.chdir(ROOT)
    assert named in error_of(load_tool("demo.py"), *words)


def test_a_signal_ends_it_and_the_step_that_runs(tmp_path):
    command = [sys.executable, "tools/demo.py", f"--work-dir={tmp_path}"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        while not (steps := children.read_text().split()) and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.5)  # it has begun to read what the step says
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGINT and said == ""
    assert not Path(f"/proc/{steps[0]}").exists()


def test_the_report_of_the_classifier_alone(demo):
    page = Page((demo / "classifier.html").read_text())
    page.check_self_contained()
    assert len(page.images) == 1 + 4
    (accuracy,) = scalars(demo / "classifier", "accuracy/top1")[-1:]
    assert f"{accuracy:.1f} %" in page.texts
    assert "mAP" not in page.texts


def test_pooling_weights_of_own_images(demo, tmp_path, output_of, tools_undone):
    image = demo / "data/val/000003.png"
    out = output_of(
        load_tool("visualization/pooling_weights.py"),
        ROOT / "configs/demo/resnet18-half-nlp_digits.py",
        *(demo / "classifier").glob("epoch_*.pth"),
        f"--out-dir={tmp_path}",
        f"--images={image}",
    )
    assert str(tmp_path / "000000_000003.png") in out
    assert cv2.imread(str(tmp_path / "000000_000003.png")).shape[1] == 4 * 256
