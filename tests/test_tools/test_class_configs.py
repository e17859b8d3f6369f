"""Configs whose types are classes, runners of a strategy, images of any kind."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from PIL import Image
from tool_modules import load_tool, undone

from attnpool_mm.checkpoint import load_checkpoint_file
from attnpool_mm.engine.samples import file_pipeline
from attnpool_mm.models import AttnPoolResNet
from attnpool_mm.pooling import SelfAttentivePool2d

BASE = """
from mmcv.transforms import Resize
from mmengine.dataset import DefaultSampler
from mmpretrain.datasets import PackInputs
from mmpretrain.evaluation import Accuracy

from attnpool_mm.datasets import Digits

pipeline = [dict(type=Resize, scale=16), dict(type=PackInputs)]
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(type=Digits, split='train', indices=8, pipeline=pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(type=Digits, split='test', indices=8, pipeline=pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type=Accuracy)
test_evaluator = val_evaluator
"""
CONFIG = """
from mmengine.config import read_base

with read_base():
    from .base import *

from mmengine.optim import AmpOptimWrapper
from mmpretrain.models import LinearClsHead
from torch.optim import SGD

from attnpool_mm.models import AttnPoolClassifier, AttnPoolResNet
from attnpool_mm.pooling import SelfAttentivePool2d

model = dict(
    type=AttnPoolClassifier,
    backbone=dict(
        type=AttnPoolResNet, depth=18, stem_channels=4, base_channels=4,
        pool_cfg=dict(type=SelfAttentivePool2d, normalize=False)),
    head=dict(type=LinearClsHead, num_classes=10))
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3)
optim_wrapper = dict(type=AmpOptimWrapper, optimizer=dict(type=SGD, lr=0.1))
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = dict()
test_cfg = dict()
"""
FLEXIBLE = """
_base_ = 'attnpool_mm::classification/digits/resnet20-spem_1xb64_digits.py'
model = dict(backbone=dict(depth=8))
train_dataloader = dict(num_workers=0, dataset=dict(indices=64))
val_dataloader = dict(num_workers=0, dataset=dict(indices=8))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
runner_type = 'FlexibleRunner'
strategy = dict(type='SingleDeviceStrategy')
"""
TRAINED = ("config.py", "work/epoch_1.pth")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A new config, trained by an epoch of two steps."""
    folder = tmp_path_factory.mktemp("classes")
    (folder / "base.py").write_text(BASE)
    (folder / "config.py").write_text(CONFIG)
    (folder / "flexible.py").write_text(FLEXIBLE)
    with undone() as patch:
        run(patch, "train.py", folder / "config.py", "--work-dir", folder / "work")
    return folder


def run(patch, script, *arguments):
    tool = load_tool(script)
    patch.setattr("sys.argv", [tool.__file__, *map(str, arguments)])
    tool.main()


@pytest.fixture
def tool(folder, tools_undone, output_of, monkeypatch):
    monkeypatch.chdir(folder)
    return lambda script, *args: output_of(load_tool(script), *args)


def test_training_and_test(folder, tool):
    """On a CPU, whose mixed precision is not the class that the config names."""
    tool("test.py", *TRAINED, "--out", "metrics.json")
    assert '"accuracy/top1"' in (folder / "metrics.json").read_text()


def test_complexity_and_shrinkings(tool):
    assert "layer4" in tool("analysis_tools/get_complexity.py", "config.py")
    assert tool("misc/print_arch.py", "config.py").count("SelfAttentivePool2d") == 3


def test_a_pruned_network(tool):
    tool("deployment/prune.py", *TRAINED, "--out", "pruned.pth", "--no-test")
    assert "layer4" in tool("analysis_tools/get_complexity.py", "pruned.py")


def test_pictures_of_weights(folder, tool):
    arguments = ("--num-images", 2, "--out-dir", "pictures")
    tool("visualization/pooling_weights.py", *TRAINED, *arguments)
    pictures = [cv2.imread(str(path)) for path in (folder / "pictures").iterdir()]
    assert [picture.shape[1] for picture in pictures] == [4 * 256] * 2


def test_files_of_any_kind(folder, tool):
    """The same picture in files of other depths, channels and names."""
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:8, :8] = 200
    names = ("plain.png", "16 bit.png", "rgba.png", "turned.jpg", "ein Bild ä.png")
    files = [folder / name for name in names]
    with_alpha = np.dstack([picture, np.full((16, 16), 255, np.uint8)])
    written = [picture, picture[..., 0].astype(np.uint16) * 257, with_alpha]
    for file, array in zip(files, [*written, None, picture], strict=True):
        if array is not None:
            cv2.imwrite(str(file), array)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    Image.fromarray(np.rot90(picture)).save(files[3], quality=100, exif=exif)
    options = ("--out-dir", "files", "--images", *files)
    tool("visualization/pooling_weights.py", *TRAINED, *options)
    drawn = sorted((folder / "files").iterdir())
    assert [path.stem[7:] for path in drawn] == [file.stem for file in files]
    first, *others = [cv2.imread(str(path)).astype(int) for path in drawn]
    assert (first[22 : 22 + 128, :128] == 200).all()
    assert (first[22 + 128 :, :256] == 0).all()
    for other in others:
        assert abs(first - other)[22:, :256].max() <= 8


@pytest.mark.parametrize("channels", [1, 5])
def test_images_of_other_channels(channels):
    tool = load_tool("visualization/pooling_weights.py")
    network = ImageClassifier(
        dict(type=AttnPoolResNet, depth=18, in_channels=channels, base_channels=4,
             stem_channels=4, pool_cfg=dict(type=SelfAttentivePool2d, normalize=False)),
        data_preprocessor=dict(mean=[100] * channels, std=[50] * channels),
        neck=dict(type="mmpretrain.GlobalAveragePooling"),
        head=dict(type="mmpretrain.LinearClsHead", num_classes=3, in_channels=32),
    ).eval()  # fmt: skip
    image = torch.randint(0, 256, (channels, 256, 288), dtype=torch.uint8)
    sample = dict(inputs=image, data_samples=DataSample())
    picture = tool.draw(network, sample, rgb=False)[22:, :288]
    grey = image.float().mean(0).numpy()
    assert abs(picture - grey[..., None]).max() <= 1


@pytest.mark.parametrize("load, channels", [
    ([], 1),  # as many as the preprocessor's mean
    ([dict(type="LoadImageFromFile", color_type="unchanged")], 4),
])  # fmt: skip
def test_files_are_loaded_as_the_network_needs_them(tmp_path, load, channels):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 5, 4), np.uint8))
    pipeline = [*load, dict(type="PackInputs")]
    cfg = Config(dict(
        model=dict(data_preprocessor=dict(mean=[0], std=[1])),
        test_dataloader=dict(dataset=dict(type="Digits", pipeline=pipeline)),
    ))  # fmt: skip
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        sample = file_pipeline(cfg)({"img_path": str(tmp_path / "a.png")})
    assert sample["inputs"].shape == (channels, 4, 5)


def test_a_runner_with_a_strategy_trains_and_tests(folder, tool):
    tool("train.py", "flexible.py", "--work-dir", "flexible")
    checkpoint = load_checkpoint_file(folder / "flexible/epoch_1.pth")
    assert checkpoint["meta"]["iter"] == 1
    assert checkpoint["optimizer"]["state"]
    tool("test.py", "flexible.py", "flexible/epoch_1.pth", "--out", "flexible.json")
    assert '"accuracy/top1"' in (folder / "flexible.json").read_text()
