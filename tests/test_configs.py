"""Every config opens, builds, learns from a step and predicts."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

from attnpool_mm.pooling import WeightedPool2d

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "configs").rglob("*.py")
    if "_base_" not in path.parts
)


def build_model(cfg):
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.pop("init_cfg", None)  # pretrained weights are not here
    if "data_preprocessor" in cfg:
        cfg.model.data_preprocessor = cfg.data_preprocessor
    return MODELS.build(cfg.model)


def fake_batch(cfg):
    images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in range(2)]
    samples = []
    for _ in images:
        if cfg.default_scope == "mmpretrain":
            from mmpretrain.structures import DataSample

            samples.append(DataSample().set_gt_label(1))
        else:
            from mmdet.structures import DetDataSample

            meta = dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1, 1))
            sample = DetDataSample(metainfo=meta)
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor([[4.0, 4, 40, 36], [20, 24, 60, 60]]),
                labels=torch.tensor([0, 1]),
            )
            samples.append(sample)
    return dict(inputs=images, data_samples=samples)


def train_and_predict(model, batch):
    model.train()
    losses = model(**model.data_preprocessor(batch, True), mode="loss")
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert loss.isfinite()
    unused = [n for n, p in model.named_parameters()
              if p.requires_grad and p.grad is None]  # fmt: skip
    assert unused == []
    model.eval()
    return model.test_step(batch)


@pytest.mark.parametrize("path", CONFIGS)
def test_config(path):
    cfg = Config.fromfile(ROOT / path)
    model = build_model(cfg)
    assert len(train_and_predict(model, fake_batch(cfg))) == 2
    if "nlp" in path:
        assert any(isinstance(m, WeightedPool2d) for m in model.modules())


@pytest.mark.parametrize("path", CONFIGS)
def test_the_whole_config_has_what_a_runner_needs(path):
    cfg = Config.fromfile(ROOT / path)
    for name in ("train", "val", "test"):
        assert cfg[f"{name}_dataloader"].dataset.pipeline
        assert cfg[f"{name}_cfg"] is not None
    assert cfg.optim_wrapper.optimizer.lr > 0
