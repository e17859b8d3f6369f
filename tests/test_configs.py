"""Every config opens, builds, learns from a step and predicts."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

from attnpool_mm.engine.preflight import datasets_of
from attnpool_mm.layers import SPEM
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


def fake_batch(cfg, size=64):
    shape = (3, size, size)
    images = [torch.randint(0, 256, shape, dtype=torch.uint8) for _ in range(2)]
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
    batch = fake_batch(cfg, 32 if "cifar" in path else 64)
    assert len(train_and_predict(model, batch)) == 2
    if "nlp" in path:
        assert any(isinstance(m, WeightedPool2d) for m in model.modules())
    if "spem" in path:
        penalized = [m.p for m in model.modules() if isinstance(m, SPEM)]
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
        decays = {p: group["weight_decay"] for group in groups for p in group["params"]}
        assert penalized and all(decays[p] >= 0.2 for p in penalized)
        assert any(hook.type.endswith("SPEMLoggerHook") for hook in cfg.custom_hooks)


@pytest.mark.parametrize("path", CONFIGS)
def test_the_whole_config_has_what_a_runner_needs(path):
    cfg = Config.fromfile(ROOT / path)
    for name in ("train", "val", "test"):
        datasets = [d for _, d in datasets_of(cfg[f"{name}_dataloader"].dataset, "")]
        assert datasets and all(dataset.pipeline for dataset in datasets)
        assert cfg[f"{name}_cfg"] is not None
    assert cfg.optim_wrapper.optimizer.lr > 0
