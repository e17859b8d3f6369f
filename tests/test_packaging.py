"""What a wheel carries, and what is found in it from outside the repository."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from modelindex.load_model_index import load

from attnpool_mm.apis import config_path
from attnpool_mm.utils.errors import ConfigError

ROOT = Path(__file__).parents[1]
SOURCES = [
    "LICENSE", "MANIFEST.in", "README.md", "attnpool_mm", "configs", "demo",
    "model-index.yml", "pyproject.toml", "requirements", "setup.py", "tools",
]  # fmt: skip
CARRIED = ["configs", "demo", "model-index.yml", "tools"]
CLASSIFIER = "resnet20-spem_1xb64_digits"
DETECTOR = "faster-rcnn_resnet18-half-nlp_fpn_digits-coco"
NAMED_DETECTOR = "ssdlite_mobilenetv2-spem_8xb24-600e_coco"

BUILD = """
from setuptools import build_meta
build_meta.build_wheel("dist")
build_meta.build_sdist("dist")
"""

# Run from another folder, with the installed wheel alone on the path
LOOK_UP = f"""
import json, sys

import attnpool_mm
light = "torch" not in sys.modules

from mmengine.config import Config
from mmengine.hub import get_config

found = get_config("attnpool_mm::classification/digits/{CLASSIFIER}.py")
files = [attnpool_mm.__file__, found.filename]

from mmdet.apis import DetInferencer
import mmpretrain
from attnpool_mm.apis import config_path
from attnpool_mm.checkpoint import use_safe_loading

use_safe_loading()
files.append(config_path("{DETECTOR}"))
scores = [
    mmpretrain.ImageClassificationInferencer(model, pretrained="classifier.pth")(
        "image.png")[0]["pred_scores"].tolist()
    for model in ("{CLASSIFIER}", config_path("{CLASSIFIER}"), "my_classifier.py")
]
detections = [
    DetInferencer(model, weights="detector.pth")("image.png")["predictions"][0]
    for model in (config_path("{DETECTOR}"), "my_detector.py")
]
named = DetInferencer("{NAMED_DETECTOR}", scope="attnpool_mm")
prediction = named("image.png")["predictions"][0]
print(json.dumps(dict(
    light=light,
    files=files,
    models=mmpretrain.list_models("*nlp*"),
    detectors=DetInferencer.list_models("attnpool_mm"),
    scores=scores,
    detections=detections,
    named=[type(named.model.backbone).__name__, *sorted(prediction)],
)), file=open("found.json", "w"))
"""


def run(*command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr


def files_of(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def copy_sources(folder):
    """A copy of what git has: without the links in `.mim`."""
    ignored = shutil.ignore_patterns(".mim", "__pycache__")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A copy of the sources, with a wheel and a source distribution in dist/."""
    copy = tmp_path_factory.mktemp("sources")
    copy_sources(copy)
    # what must not be packed
    for junk in ("configs/__pycache__/a.pyc", "tools/work_dirs/a.log", "tests/a.py"):
        (copy / junk).parent.mkdir(exist_ok=True)
        (copy / junk).write_text("")
    run(sys.executable, "-c", BUILD, cwd=copy)
    (wheel,), (sdist,) = (copy.glob(f"dist/*.{kind}") for kind in ("whl", "tar.gz"))
    return copy, wheel, sdist


@pytest.fixture(scope="module")
def found(built, tmp_path_factory):
    """What `LOOK_UP` found, what it predicted, and where the wheel was installed."""
    folder, target = tmp_path_factory.mktemp("outside"), built[0] / "target"
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-deps")
    run(*pip, "--target", str(target), str(built[1]))
    pixels = np.random.default_rng(0).integers(256, size=(48, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "image.png"), pixels)
    save(build(CLASSIFIER), folder / "classifier.pth")
    save(build(DETECTOR), folder / "detector.pth")
    for kind, name in (
        ("classifier", f"classification/digits/{CLASSIFIER}.py"),
        ("detector", f"demo/{DETECTOR}.py"),
    ):
        line = f"_base_ = 'attnpool_mm::{name}'\n"
        (folder / f"my_{kind}.py").write_text(line)
    run(
        sys.executable,
        "-c",
        LOOK_UP,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(target)},
    )
    return json.loads((folder / "found.json").read_text()), folder, target


def build(name):
    cfg = Config.fromfile(config_path(name))
    cfg.model.backbone.pop("init_cfg", None)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model)


def save(model, path):
    """Save a checkpoint with what MMEngine's has beside the weights."""
    hub = MessageHub.get_instance(path.name)
    hub.update_scalar("loss", 1.0)
    meta = dict(dataset_meta=dict(classes=[str(digit) for digit in range(10)]))
    state = dict(meta=meta, state_dict=model.state_dict(), message_hub=hub.state_dict())
    torch.save(state, path)


def test_a_wheel_carries_configs_tools_and_index_and_no_more(built):
    copy, wheel, _ = built
    package = {p.relative_to(ROOT) for p in (ROOT / "attnpool_mm").rglob("*.py")}
    for name in CARRIED:
        path = ROOT / name
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file() and not {"__pycache__", "benchmarks"} & set(file.parts):
                package.add(Path("attnpool_mm", ".mim", file.relative_to(ROOT)))
    names = files_of(wheel)
    info = {name for name in names if name.startswith("attnpool_mm-")}
    assert names - info == {path.as_posix() for path in package}
    assert {Path(name).name for name in info} == {
        "LICENSE", "METADATA", "RECORD", "WHEEL", "top_level.txt",
    }  # fmt: skip


def test_a_source_distribution_gives_the_same_wheel(built, tmp_path):
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps")
    run(*pip, "--no-build-isolation", "-w", str(tmp_path), str(built[2]))
    (wheel,) = tmp_path.glob("*.whl")
    assert files_of(wheel) == files_of(built[1])


def test_everything_is_found_in_the_installed_wheel(found):
    result, _, target = found
    for file in result["files"]:
        assert Path(file).is_relative_to(target)
        assert Path(file).is_file()
    assert result["light"]
    stems = {path.stem for path in (ROOT / "configs").rglob("*.py")}
    models = set(result["models"])
    assert "resnet18-nlp-stage-end_1xb64_digits" in models and models <= stems
    assert NAMED_DETECTOR in result["detectors"]
    assert result["named"] == ["AttnPoolMobileNetV2", "bboxes", "labels", "scores"]


def test_classification_inferencer_by_name_path_and_base(found):
    result, folder, _ = found
    model = build(CLASSIFIER).eval()
    load_checkpoint(model, str(folder / "classifier.pth"))
    image = cv2.resize(cv2.imread(str(folder / "image.png")), (32, 32))
    inputs = torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        expected = model.head.fc(model.extract_feat(inputs)[-1]).softmax(-1)[0]
    assert len(result["scores"]) == 3
    for scores in result["scores"]:
        torch.testing.assert_close(torch.tensor(scores), expected)


def test_detection_inferencer_by_path_and_base(found):
    result, folder, _ = found
    path = ROOT / "configs" / "demo" / f"{DETECTOR}.py"
    model = init_detector(str(path), str(folder / "detector.pth"), device="cpu")
    expected = inference_detector(model, str(folder / "image.png")).pred_instances
    assert len(expected) > 0 and len(result["detections"]) == 2
    for detections in result["detections"]:
        boxes, scores = (torch.tensor(detections[k]) for k in ("bboxes", "scores"))
        torch.testing.assert_close(boxes, expected.bboxes)
        torch.testing.assert_close(scores, expected.scores)


def test_repository_gives_the_same_lookups():
    for name in (CLASSIFIER, DETECTOR, NAMED_DETECTOR):
        path = Path(config_path(name))
        below = path.relative_to(ROOT / "attnpool_mm" / ".mim" / "configs")
        found = get_config(f"attnpool_mm::{below.as_posix()}")
        assert Path(found.filename).samefile(ROOT / "configs" / below)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy that is not installed, but in `PYTHONPATH` alone."""
    copy = tmp_path_factory.mktemp("checkout")
    copy_sources(copy)
    (copy / "mine.py").write_text(
        f"_base_ = 'attnpool_mm::classification/digits/{CLASSIFIER}.py'\n"
    )
    return copy


def python(checkout, code):
    env = os.environ | {"PYTHONPATH": str(checkout)}
    run(sys.executable, "-c", code, cwd=checkout, env=env)


def test_a_checkout_that_is_not_installed(checkout):
    """Names are found; a base of the package says what to run, which is enough."""
    done = subprocess.run(
        [sys.executable, "tools/misc/print_config.py", "mine.py"],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
    )
    *_, error = done.stderr.strip().splitlines()  # MMEngine's warnings before it
    assert done.returncode == 2 and error.startswith("error: config mine.py: "), error
    command = error.rpartition("run ")[2].removesuffix(" once")
    assert command == f"python {checkout}/setup.py --version"
    python(
        checkout,
        f"""
from attnpool_mm.apis import config_path
import mmpretrain
assert config_path({CLASSIFIER!r}).startswith({str(checkout / "configs")!r})
assert {CLASSIFIER!r} in mmpretrain.list_models("*spem*")
""",
    )
    run(sys.executable, *command.split()[1:])
    links = checkout / "attnpool_mm" / ".mim"
    assert {path.name: path.is_symlink() for path in links.iterdir()} == dict.fromkeys(
        CARRIED, True
    )
    python(
        checkout,
        """
import attnpool_mm
from mmengine.config import Config
assert Config.fromfile("mine.py").model.backbone.depth == 20
""",
    )


def test_links_are_made_anew(checkout):
    """What is outdated goes, a folder that was copied too; what is right stays."""
    links = checkout / "attnpool_mm" / ".mim"
    run(sys.executable, "setup.py", "--version", cwd=checkout)
    kept = os.lstat(links / "demo").st_mtime_ns
    (links / "configs").unlink()
    (links / "configs" / "old").mkdir(parents=True)
    (links / "tools").unlink()
    (links / "tools").symlink_to("nowhere")
    run(sys.executable, "setup.py", "--version", cwd=checkout)
    for name in CARRIED:
        assert (links / name).samefile(checkout / name) and (links / name).is_symlink()
    assert os.lstat(links / "demo").st_mtime_ns == kept


def test_unknown_name_says_what_is_near():
    with pytest.raises(ConfigError, match="resnet18-nlp-stage-end_1xb64_digits"):
        config_path("resnet18_nlp_stage_end_1xb64_digits")


class TestModelIndex:
    def models(self):
        index = yaml.safe_load((ROOT / "model-index.yml").read_text())
        for path in index["Import"]:
            yield from yaml.safe_load((ROOT / path).read_text())["Models"]

    def test_lists_every_config_once(self):
        models = list(self.models())
        listed = Counter(model["Config"] for model in models)
        configs = {
            path.relative_to(ROOT).as_posix()
            for task in ("classification", "detection")
            for path in (ROOT / "configs" / task).rglob("*.py")
        }
        assert listed == Counter(configs)
        names = [model["Name"] for model in models]
        assert names == [Path(model["Config"]).stem for model in models]
        assert len({name.lower() for name in names}) == len(names)

    def test_modelindex_parses_it(self):
        index = load(str(ROOT / "model-index.yml"))
        index.build_models_with_collections()
        assert len(index.models) == len(list(self.models()))
        assert index.check(silent=True) is not False
        for model in index.models:
            assert model.full_model.paper["URL"].startswith("https://arxiv.org/abs/")

    def test_numbers_are_those_of_the_model(self):
        (entry,) = (m for m in self.models() if m["Name"] == CLASSIFIER)
        parameters = sum(p.numel() for p in build(CLASSIFIER).parameters())
        assert entry["Metadata"]["Parameters"] == parameters
        assert entry["Metadata"]["Epochs"] == 15
        assert entry["In Collection"] == "SPEM"
