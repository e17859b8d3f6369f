"""Every config opens, builds, learns from a step and predicts, on its own data."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from config_runs import build_model, evaluate, shrink, train_a_step, write_data_sets
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from tool_modules import load_tool

from attnpool_mm.backbones import arch_to_config
from attnpool_mm.engine.preflight import check_data_paths, datasets_of
from attnpool_mm.layers import SPEM, DynamicConv2d
from attnpool_mm.pooling import SelfAttentivePool2d

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT / "configs").as_posix()
    for path in (ROOT / "configs").rglob("*.py")
    if "_base_" not in path.parts
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with write_data_sets(folder) as known:
        known.setenv("ATTNPOOL_DATA", str(folder))
        yield folder


@pytest.fixture(scope="module")
def config_row():
    return load_tool("misc/config_table.py").config_row


@pytest.fixture(scope="module")
def table():
    """The lines of the page that says what each config costs."""
    return set((ROOT / "docs/configs.md").read_text().splitlines())


@pytest.mark.parametrize("path", CONFIGS)
# "reduced" keywords are average pooling in some stages, as their authors have them
@pytest.mark.filterwarnings("default:SelfAttentivePool2d with patch_size")
def test_config(path, data, table, config_row):
    whole = Config.fromfile(ROOT / "configs" / path)
    check_sections(path, whole)
    cfg = deepcopy(whole)
    shrink(cfg, data)
    check_data_paths(cfg, ("train", "val", "test"))
    model = build_model(cfg)
    assert str(config_row(f"configs/{path}", whole, model)) in table
    learning = next(p for p in model.parameters() if p.requires_grad)
    before = learning.detach().clone()
    wrapper = train_a_step(cfg, model)
    assert not torch.equal(learning, before)
    metrics, predictions = evaluate(cfg, model)
    assert len(predictions) == 2
    if cfg.default_scope == "mmpretrain":
        check_classifier(cfg, predictions, metrics)
    else:
        check_detector(cfg, predictions, metrics)
    check_name(path, cfg, model)
    if "spem" in path:
        check_penalty(cfg, model, wrapper)


def check_sections(path, cfg):
    """A config has what a runner needs."""
    for name in ("train", "val", "test"):
        assert cfg[f"{name}_cfg"] is not None
        assert cfg[f"{name}_dataloader"].dataset
    assert cfg.optim_wrapper.optimizer.lr > 0
    assert "demo" in path or cfg.auto_scale_lr.base_batch_size > 0


def check_classifier(cfg, predictions, metrics):
    for sample in predictions:
        assert sample.pred_score.shape == (cfg.model.head.num_classes,)
        assert sample.pred_score.sum() == pytest.approx(1, abs=1e-5)
    right = [sample.pred_label == sample.gt_label for sample in predictions]
    assert metrics["accuracy/top1"] == pytest.approx(100 * sum(right).item() / 2)


def check_detector(cfg, predictions, metrics):
    head = cfg.model.roi_head if "roi_head" in cfg.model else cfg.model
    for sample in predictions:
        found = sample.pred_instances
        assert found.labels.numel() == len(found.bboxes) == len(found.scores)
        assert (found.labels < head.bbox_head.num_classes).all()
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
        assert found.bboxes.isfinite().all()
    assert 0 <= metrics["coco/bbox_mAP"] <= 1


def check_name(path, cfg, model):
    """A config does what its name says."""
    name = Path(path).stem
    backbone = model.backbone
    arch = cfg.model.backbone.get("arch")
    if arch is not None and "keyword" not in name and arch in name.split("_coco")[0]:
        assert arch_to_config(arch)["strides"] == tuple(backbone.strides)
    pools = [m for m in model.modules() if isinstance(m, SelfAttentivePool2d)]
    if any(word in name for word in ("nlp", "mixp")):
        assert pools
    if "skip" in name or "lip" in name.split("-"):
        assert not pools
    if "dyresnet" in name or "dymobilenet" in name:
        assert any(isinstance(m, DynamicConv2d) for m in backbone.modules())
    if "coco8" in name:
        for _, dataset in datasets_of(cfg.train_dataloader.dataset, ""):
            assert len(dataset.metainfo.classes) == 8


def check_penalty(cfg, model, wrapper):
    penalized = [m.p for m in model.modules() if isinstance(m, SPEM)]
    groups = wrapper.optimizer.param_groups
    decays = {p: group["weight_decay"] for group in groups for p in group["params"]}
    assert penalized and all(decays[p] >= 0.2 for p in penalized)
    assert any(hook.type.endswith("SPEMLoggerHook") for hook in cfg.custom_hooks)


def test_the_data_have_crowds_and_empty_images(data):
    """The detectors above were fed with what COCO has."""
    path = "detection/faster_rcnn/faster-rcnn_resnet18-nlp_fpn_1x_coco.py"
    cfg = Config.fromfile(ROOT / "configs" / path)
    cfg.val_dataloader.dataset.test_mode = True
    with DefaultScope.overwrite_default_scope("mmdet"):
        val = DATASETS.build(cfg.val_dataloader.dataset)
        train = DATASETS.build(cfg.train_dataloader.dataset)
    crowds = [any(i["ignore_flag"] for i in val.get_data_info(n)["instances"])
              for n in range(len(val))]  # fmt: skip
    empty = [not val.get_data_info(n)["instances"] for n in range(len(val))]
    assert any(crowds) and any(empty)
    assert len(train) < len(val)  # those without a box are left out of training
