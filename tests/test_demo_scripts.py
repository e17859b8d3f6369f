"""`demo/image_demo.py`: a prediction in words, a picture, errors in one line."""

import re
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope
from mmpretrain import ImageClassificationInferencer

from attnpool_mm.apis import config_path
from attnpool_mm.models import AttnPoolResNetCIFAR

SCRIPT = Path(__file__).parents[1] / "demo" / "image_demo.py"
CLASSIFIER = "resnet20-spem_1xb64_digits"
CIFAR = "resnet164-spem_1xb128_cifar10"
DETECTOR = "faster-rcnn_resnet18-half-nlp_fpn_digits-coco"
CLASSES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An image, and a checkpoint of each kind."""
    folder = tmp_path_factory.mktemp("demo")
    pixels = np.random.default_rng(0).integers(256, size=(90, 120, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "image.png"), pixels)
    for name in (CLASSIFIER, DETECTOR):
        cfg = Config.fromfile(config_path(name))
        cfg.model.backbone.pop("init_cfg", None)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(cfg.model)
        if name == CLASSIFIER:  # always sure that it sees a three
            torch.nn.init.zeros_(model.head.fc.weight)
            model.head.fc.bias.data = 9 * torch.eye(10)[3]
        meta = dict(dataset_meta=dict(classes=CLASSES))
        state_dict = model.state_dict()
        torch.save(dict(meta=meta, state_dict=state_dict), folder / f"{name}.pth")
        torch.save({"model": state_dict}, folder / f"{name}_model.pth")
        if name == CLASSIFIER:
            meta = dict(dataset_meta=dict(classes=CLASSES[:9]))
            torch.save(dict(meta=meta, state_dict=state_dict), folder / "nine.pth")
    cfg = Config.fromfile(config_path(CIFAR))
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        torch.save(MODELS.build(cfg.model).state_dict(), folder / "cifar.pth")
    red = np.full((32, 32, 3), (0, 0, 255), dtype=np.uint8)  # OpenCV's order
    cv2.imwrite(str(folder / "red.png"), red)
    return folder


@pytest.fixture
def demo(folder, tools_undone, monkeypatch, capsys):
    """Run the script in its folder; return its exit code and what it printed."""

    def run(*arguments):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        code = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err.splitlines()

    return run


def test_classification(demo, folder):
    code, out, _ = demo(
        "image.png", CLASSIFIER, "--weights", f"{CLASSIFIER}.pth", "--out-dir", "a/b"
    )
    assert code == 0
    picture = cv2.imread(str(folder / "a" / "b" / "image.png"))
    assert picture.shape == (256, 341, 3)  # enlarged, or the text would not fit
    # softmax of one 9 and nine 0
    score = np.exp(9) / (np.exp(9) + 9)
    assert out[-6].endswith(f"three: {score:.3f}") and out[-1] == "a/b/image.png"


def test_detection(demo, folder):
    arguments = ("image.png", config_path(DETECTOR), "--weights", f"{DETECTOR}.pth")
    code, out, _ = demo(*arguments, "--device", "cpu", "--score-thr", "0.01")
    assert code == 0
    found = [line for line in out if " at (" in line]
    assert found and all(line.split(":")[0] in CLASSES for line in found)
    assert out[-1] == "outputs/vis/image.png"
    drawn = cv2.imread(str(folder / out[-1]))
    image = cv2.imread(str(folder / "image.png"))
    assert drawn.shape == image.shape and (drawn != image).any()


def test_weights_without_meta_data(demo):
    """A plain state dict under `model`: the names are the data set's."""
    code, out, _ = demo("image.png", CLASSIFIER, "--weights", f"{CLASSIFIER}_model.pth")
    score = np.exp(9) / (np.exp(9) + 9)
    assert code == 0 and out[-6].endswith(f"3: {score:.3f}")
    arguments = ("--device", "cpu", "--score-thr", "0.01")
    code, out, _ = demo(
        "image.png", DETECTOR, "--weights", f"{DETECTOR}_model.pth", *arguments
    )
    names = [line.split(":")[0] for line in out if " at (" in line]
    assert code == 0 and names and set(names) <= {str(i) for i in range(10)}


def test_red_is_red_to_a_classifier_of_cifar(demo, folder, monkeypatch):
    seen = []
    forward = AttnPoolResNetCIFAR.forward

    def look(self, x):
        if not x.is_meta:  # not in a run on shapes, while it is built
            seen.append(x[0, :, 0, 0])
        return forward(self, x)

    monkeypatch.setattr(AttnPoolResNetCIFAR, "forward", look)
    assert demo("red.png", CIFAR, "--weights", "cifar.pth")[0] == 0
    # as docs/inference.md has it
    weights = str(folder / "cifar.pth")
    inferencer = ImageClassificationInferencer(config_path(CIFAR), pretrained=weights)
    inferencer.model.data_preprocessor.to_rgb = True
    inferencer(str(folder / "red.png"))
    cfg = Config.fromfile(config_path(CIFAR)).data_preprocessor
    red = (torch.tensor([255.0, 0, 0]) - torch.tensor(cfg.mean)) / torch.tensor(cfg.std)
    assert len(seen) == 2
    for pixel in seen:
        torch.testing.assert_close(pixel.cpu(), red)


def test_mnist_takes_photographs_and_its_own_images():
    cfg = Config.fromfile(config_path("resnet18-nlp-stage-end_1xb64_mnist"))
    with TRANSFORMS.switch_scope_and_registry("mmpretrain") as registry:
        steps = [registry.build(s) for s in cfg.test_dataloader.dataset.pipeline[:3]]
    for image, expected in (
        (np.full((4, 4, 3), (0, 0, 255), dtype=np.uint8), 76),  # 0.299 * 255
        (digit := np.arange(28 * 28, dtype=np.uint8).reshape(28, 28), digit[..., None]),
    ):
        sample = dict(img=image)
        for step in steps:
            sample = step(sample)
        assert sample["img"].shape == (*image.shape[:2], 3)
        assert (sample["img"] == expected).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["no.png", CLASSIFIER], "image no.png: "),
        ([f"{DETECTOR}.pth", CLASSIFIER], f"image {DETECTOR}.pth: "),
        (["image.png", "a/no.py"], "config a/no.py"),
        (
            ["image.png", "resnet20-spem_digits"],
            f"name='resnet20-spem_digits': .*{CLASSIFIER}",
        ),
        (["image.png", CLASSIFIER, "--weights", "no.pth"], "checkpoint no.pth"),
        (["image.png", CLASSIFIER, "--weights", "image.png"], "checkpoint image.png"),
        (["image.png", CLASSIFIER, "--device", "gpu"], "--device gpu"),
        (["image.png", CLASSIFIER, "--score-thr", "nan"], "--score-thr nan"),
        (
            ["image.png", CLASSIFIER, "--out-dir", "image.png/a"],
            "--out-dir image.png/a: image.png",
        ),
        (["image.png", CLASSIFIER, "--out-dir", "."], r"--out-dir \.: .*image's"),
        (
            ["image.png", CLASSIFIER, "--out-dir", "new", "--weights", "nine.pth"],
            r"--weights nine.pth: 9 .*\(zero, …\).* 10",
        ),
        (
            ["image.png", "resnet18-nlp-stage-end_1xb64_digits"],
            f"--weights {CLASSIFIER}.pth: ",
        ),
    ],
)
def test_errors_are_one_line(demo, folder, arguments, message):
    if "--weights" not in arguments:
        arguments = [*arguments, "--weights", f"{CLASSIFIER}.pth"]
    code, _, err = demo(*arguments)
    assert code == 2
    (line,) = (line for line in err if line.startswith("error: "))
    assert re.search(message, line) and err[-1] == line
    assert not (folder / "new").exists()
