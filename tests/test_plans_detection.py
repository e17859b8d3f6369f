"""The plans of detection: their detectors differ in the pools and in nothing else."""

from pathlib import Path

import pytest

from attnpool_mm.engine.arguments import check_arguments
from attnpool_mm.engine.plan import read_plan
from attnpool_mm.layers import SPEM
from attnpool_mm.pooling import (
    LocalImportancePool2d,
    SelfAttentivePool2d,
    StridedConv2d,
)
from attnpool_mm.utils.config import build_for_counting

FOLDER = Path(__file__).parents[1] / "configs/evidence"
KINDS = {
    "strided as published": (),
    "strided": StridedConv2d,
    "LIP": LocalImportancePool2d,
    "NLP, patch 2": SelfAttentivePool2d,
    "SPEM": SPEM,
}


@pytest.fixture(scope="module")
def plan():
    return read_plan(str(FOLDER / "detection_fashion-coco.py"))


@pytest.fixture(scope="module")
def configs(plan):
    return plan.whole_configs()


@pytest.mark.parametrize(("network", "places"), [("Faster R-CNN", 3), ("SSDLite", 4)])
def test_only_the_pools_differ(network, places, plan, configs):
    outputs, found = set(), {}
    for run in plan.runs():
        if run.seed == 0 and run.levels["network"] == network:
            pool = run.levels["pool"]
            backbone = build_for_counting(configs[run.name]).backbone
            outputs.add((tuple(backbone.out_channels), tuple(backbone.out_strides)))
            found[pool] = sum(isinstance(m, KINDS[pool]) for m in backbone.modules())
    assert len(outputs) == 1
    assert found.pop("SPEM")
    pooled = dict.fromkeys(["strided", "LIP", "NLP, patch 2"], places)
    assert found == {"strided as published": 0, **pooled}


def test_every_training_is_checked_before_it_starts(plan, configs):
    for cfg in configs.values():
        check_arguments(cfg, ("train", "val"))
    assert len(configs) == 2 * len(KINDS) * 3


def test_the_larger_plan_trains_on_its_own_data(plan, monkeypatch):
    monkeypatch.setenv("ATTNPOOL_DATA", "somewhere")
    large = read_plan(str(FOLDER / "detection_fashion-coco_gpu.py"))
    assert large.levels == plan.levels and len(large.seeds) > len(plan.seeds)
    for cfg in large.whole_configs().values():
        root = "somewhere/fashion_coco_large/"
        assert cfg.train_dataloader.dataset.data_root == root
        assert cfg.val_dataloader.dataset.data_root == root
        assert cfg.val_evaluator.ann_file.startswith(root)
        cosine = cfg.param_scheduler[1]
        assert cosine.end == cfg.train_cfg.max_epochs == cosine.T_max + 1 > 4
