"""Configs with other image sizes: what their pipelines then give."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from attnpool_mm.analysis.resizing import LOADERS, set_image_size
from attnpool_mm.engine.launch import read_config
from attnpool_mm.utils.config import image_size
from attnpool_mm.utils.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
CLASSIFICATION = CONFIGS / "classification"


def read(path):
    return read_config(str(CLASSIFICATION / path))


def outputs_of(cfg, loader, side):
    """The shape of an image of `side` pixels after a config's pipeline."""
    pipeline = cfg[loader].dataset.pipeline
    steps = [s for s in pipeline if not s.type.startswith("Load")]
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        packed = Compose(steps)(dict(img=image, img_shape=(side, side), gt_label=0))
    return tuple(packed["inputs"].shape[1:])


@pytest.mark.parametrize("path, side, factor", [
    ("digits/resnet18-nlp-stage-end_1xb64_digits.py", 8, 1.25),
    ("cifar10/resnet164-spem_1xb128_cifar10.py", 32, 0.75),  # no pipeline resizes
    ("fashion_mnist/resnet20-strided_1xb64_fashion-mnist.py", 28, 0.75),
    ("imagenet/resnet18-nlp-stage-end_8xb32_in1k.py", 300, 0.75),
    ("visual_wake_words/mobilenet-v2-nlp-block-end_1xb64_vww.py", 120, 0.5),
    ("stl10/resnet18-nlp-stage-end_1xb8_stl10.py", 96, 0.75),
])  # fmt: skip
def test_images_of_every_pipeline_get_the_size(path, side, factor):
    cfg = read(path)
    size = round(image_size(cfg)[0] * factor)
    set_image_size(cfg, size)
    assert image_size(cfg) == (size, size)
    for loader in LOADERS:
        assert outputs_of(cfg, loader, side) == (size, size)


def test_margins_of_crops_keep_their_ratio():
    cfg = read("digits/resnet18-nlp-stage-end_1xb64_digits.py")
    set_image_size(cfg, 16)
    crop = cfg.train_dataloader.dataset.pipeline[1]
    assert (crop.crop_size, crop.padding) == (16, 2)


def test_what_has_no_square_size_is_said():
    pipeline = [dict(type="Resize", scale=(1333, 800), keep_ratio=True)]
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    with pytest.raises(ConfigError, match="800x1333"):
        set_image_size(cfg, 64)
    cfg.test_dataloader.dataset.pipeline[0].update(scale=(320, 320))
    cfg.data_preprocessor = dict(pad_size_divisor=32)
    with pytest.raises(ConfigError, match="size=100.*128x128"):
        set_image_size(cfg, 100)
