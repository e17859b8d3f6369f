"""The STL-10 configs hold the recipe of the authors of self-attentive pooling."""

from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import write_stl10
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, PARAM_SCHEDULERS, DefaultScope

FOLDER = Path(__file__).parents[1] / "configs/classification/stl10"
NAME = "resnet18-nlp-stage-end_1xb8_stl10"
SIZES = {f"{NAME}.py": 128, f"{NAME}-96px.py": 96, f"{NAME}-224px.py": 224}


@pytest.fixture
def cfg():
    return Config.fromfile(FOLDER / f"{NAME}.py")


def steps(dataset):
    """The pipeline's steps and their arguments."""
    pipeline = [step.to_dict() for step in dataset.pipeline]
    return [(step.pop("type"), step) for step in pipeline]


@pytest.mark.parametrize("name", SIZES)
def test_images(name, monkeypatch, tmp_path):
    written = write_stl10(tmp_path / "stl10")
    monkeypatch.setenv("ATTNPOOL_DATA", str(tmp_path))
    cfg, size = Config.fromfile(FOLDER / name), SIZES[name]
    assert steps(cfg.train_dataloader.dataset) == [
        ("Resize", dict(scale=size)),
        ("RandomResizedCrop", dict(scale=size)),
        ("RandomFlip", dict(prob=0.5, direction="horizontal")),
        ("PackInputs", {}),
    ]
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert steps(loader.dataset) == [
            ("Resize", dict(scale=size)),
            ("CenterCrop", dict(crop_size=size)),
            ("PackInputs", {}),
        ]
    # mean = std = 0.5 of a pixel from 0 to 1
    assert cfg.data_preprocessor.mean == [0.5 * 255] * 3
    assert cfg.data_preprocessor.std == [0.5 * 255] * 3
    for loader, split in dict(train="train", val="test", test="test").items():
        dataset_cfg = cfg[f"{loader}_dataloader"].dataset
        dataset_cfg.check = "format"
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            dataset = DATASETS.build(dataset_cfg)
        assert len(dataset) == len(written[split][0])
        assert dataset[0]["inputs"].shape == (3, size, size)


def test_data(cfg):
    assert cfg.train_dataloader.sampler.shuffle
    assert cfg.train_dataloader.dataset.split == "train"
    assert cfg.train_dataloader.dataset.get("fold") is None
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.split == "test"
        assert loader.dataset.test_mode
        assert not loader.sampler.shuffle
    assert cfg.val_evaluator == cfg.test_evaluator
    assert cfg.default_hooks.checkpoint.save_best == "accuracy/top1"


def test_training(cfg):
    assert cfg.train_cfg.by_epoch and cfg.train_cfg.max_epochs == 300
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)
        scheduler = PARAM_SCHEDULERS.build(
            dict(cfg.param_scheduler.to_dict(), optimizer=wrapper)
        )
    (group,) = wrapper.optimizer.param_groups
    assert type(wrapper.optimizer) is torch.optim.SGD
    assert (group["momentum"], group["weight_decay"]) == (0.9, 0)
    rates = []
    for _ in range(300):
        rates.append(group["lr"])
        wrapper.optimizer.step()
        scheduler.step()
    expected = np.repeat([0.01, 0.002, 0.0004, 0.00008], [180, 60, 30, 30])
    np.testing.assert_allclose(rates, expected)


def test_the_keyword_is_one_option(cfg):
    keyword = "mobilenet_v2-nlp_headfix2-1222121"
    cfg.merge_from_dict({"model.backbone.arch": keyword})
    assert cfg.model.backbone == dict(type="attnpool_mm.AttnPoolBackbone", arch=keyword)
    assert cfg.model.type == "attnpool_mm.AttnPoolClassifier"
    assert cfg.model.head.num_classes == 10
    assert "in_channels" not in cfg.model.head  # they depend on the keyword
