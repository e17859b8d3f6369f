"""What is read off a config: names of types, image sizes, the order of channels."""

from math import ceil

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmpretrain.datasets import CIFAR10, ImageNet

from attnpool_mm.apis import config_path
from attnpool_mm.datasets import STL10
from attnpool_mm.utils.config import (
    datasets_of,
    image_size,
    images_are_rgb,
    input_shape,
    registered_class,
    type_name,
)
from attnpool_mm.utils.errors import ConfigError

PACK = dict(type="PackInputs")


def loader(*pipeline, dataset="Other"):
    inner = dict(type=dataset, pipeline=list(pipeline))
    return dict(dataset=dict(type="RepeatDataset", dataset=inner, times=2))


@pytest.mark.parametrize("kind, name", [
    ("FPN", "FPN"),
    ("mmdet.FPN", "FPN"),
    ("mmdet.models.necks.FPN", "FPN"),
    (CIFAR10, "CIFAR10"),
    (None, ""),
])  # fmt: skip
def test_the_bare_name_of_a_type(kind, name):
    assert type_name(dict(type=kind)) == name


@pytest.mark.parametrize("no_dict", [None, "FPN", [], {}])
def test_what_has_no_type_has_no_name(no_dict):
    assert type_name(no_dict) == ""


@pytest.mark.parametrize("kind, scope, expected", [
    ("CIFAR10", "mmpretrain", CIFAR10),
    ("CIFAR10", "mmdet", None),
    ("mmpretrain.ImageNet", "mmdet", ImageNet),
    ("attnpool_mm.STL10", "mmdet", STL10),
    (CIFAR10, "mmdet", CIFAR10),
    ("Other", "mmpretrain", None),
    ("nowhere.Other", None, None),
    (None, "mmpretrain", None),
    (print, "mmpretrain", None),
])  # fmt: skip
def test_the_class_of_a_type(kind, scope, expected):
    assert registered_class(kind, DATASETS, scope) is expected


def test_data_sets_in_wrappers():
    a, b = dict(type="A"), dict(type="B")
    outer = dict(datasets=[a, dict(dataset=b)])
    assert list(datasets_of(outer, "x")) == [
        ("x.datasets.0", a), ("x.datasets.1.dataset", b)
    ]  # fmt: skip


@pytest.mark.parametrize("pipeline, size", [
    ([dict(type="Resize", scale=(1333, 800), keep_ratio=True)], (800, 1333)),
    ([dict(type="Resize", scale=(800, 1333), keep_ratio=True)], (800, 1333)),
    ([dict(type="mmdet.Resize", scale=(320, 240))], (240, 320)),
    ([dict(type="Resize", scale=96), PACK], (96, 96)),
    ([dict(type="Resize", scale=96), dict(type="CenterCrop", crop_size=(64, 48))],
     (48, 64)),
    ([dict(type="torchvision/Resize", size=(64, 48))], (64, 48)),
    ([dict(type="torchvision/CenterCrop", size=(64, 48))], (64, 48)),
    ([dict(type="torchvision/CenterCrop", size=[64])], (64, 64)),
])  # fmt: skip
def test_image_size_of_the_test_pipeline(pipeline, size):
    train = loader(dict(type="RandomCrop", crop_size=7))
    cfg = Config(dict(test_dataloader=loader(*pipeline), train_dataloader=train))
    assert image_size(cfg) == size
    assert input_shape(cfg) == (3, *size)
    cfg.model = dict(data_preprocessor=dict(pad_size_divisor=32))
    assert image_size(cfg) == tuple(32 * ceil(side / 32) for side in size)


@pytest.mark.parametrize("step, size", [
    (dict(type="RandomCrop", crop_size=(24, 32), padding=4), (24, 32)),
    (dict(type="RandomResizedCrop", scale=96), (96, 96)),
    (dict(type="RandomResizedCrop", scale=(24, 32)), (24, 32)),
])  # fmt: skip
def test_image_size_of_the_training_pipeline(step, size):
    """Where the test images stay as they are, as CIFAR's do."""
    train = loader(dict(type="Resize", scale=256), step)
    cfg = Config(dict(test_dataloader=loader(PACK), train_dataloader=train))
    assert image_size(cfg) == size


def test_no_image_size():
    cfg = Config(dict(test_dataloader=loader(PACK), train_dataloader=loader(PACK)))
    with pytest.raises(ConfigError, match="--shape") as caught:
        input_shape(cfg)
    assert "\n" not in str(caught.value)
    assert input_shape(cfg, [64]) == (3, 64, 64)
    assert input_shape(cfg, [1, 64, 48]) == (1, 64, 48)


@pytest.mark.parametrize("backbone", [
    dict(type="AttnPoolMobileNetV2", in_channels=1),
    dict(type="PooledBackbone", backbone=dict(type="RegNet", in_channels=1)),
])  # fmt: skip
def test_the_channels_are_the_backbones(backbone):
    cfg = Config(dict(model=dict(backbone=backbone)))
    cfg.test_dataloader = loader(dict(type="Resize", scale=48))
    assert input_shape(cfg) == (1, 48, 48)
    assert input_shape(cfg, [64]) == (1, 64, 64)
    assert input_shape(cfg, [3, 64, 64]) == (3, 64, 64)


@pytest.mark.parametrize("name, size, rgb", [
    ("resnet18-strided_1xb128_cifar10", 32, True),
    ("resnet20-strided_1xb64_fashion-mnist", 32, True),
    ("resnet18-strided_1xb8_stl10", 128, False),
    ("mobilenet-v2-strided_1xb64_vww", 96, False),
])  # fmt: skip
def test_our_configs(name, size, rgb):
    cfg = Config.fromfile(config_path(name))
    assert image_size(cfg) == (size, size)
    assert images_are_rgb(cfg) == rgb
