"""Every config opens, builds, learns from a step and predicts, on its own data."""

import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from config_runs import build_model, evaluate, shrink, train_a_step, write_data_sets
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from tool_modules import load_tool

from attnpool_mm.engine.preflight import check_data_paths, datasets_of
from attnpool_mm.layers import SPEM
from attnpool_mm.pooling import SelfAttentivePool2d

ROOT = Path(__file__).parents[1]
KEYWORD = re.compile(r"(dy)?(resnet\d+|mobilenet(_v2)?)-[a-z_0-9]+-\d{4}(\d{3})?")
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
    return load_tool("misc/index_configs.py").config_row


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
    shrink(cfg)
    check_data_paths(cfg, ("train", "val", "test"))
    model = build_model(cfg)
    row = str(config_row(f"configs/{path}", whole, model))
    table_has_it = row in table
    assert table_has_it, f"tools/misc/index_configs.py gives another row: {row}"
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
    check_name(path, whole, model)
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
        assert len(found)
        assert found.labels.numel() == len(found.bboxes) == len(found.scores)
        assert (found.labels < head.bbox_head.num_classes).all()
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
        assert found.bboxes.isfinite().all()
    assert 0 <= metrics["coco/bbox_mAP"] <= 1


def check_name(path, cfg, model):
    """A config has the network and the classes that its name says."""
    name = Path(path).stem
    keyword = KEYWORD.search(name)
    if keyword:
        assert cfg.model.backbone.arch == keyword[0]
    elif "nlp" in name:  # the form that the authors recommend
        pools = [m for m in model.modules() if isinstance(m, SelfAttentivePool2d)]
        assert pools and not any(pool.normalize for pool in pools)
        assert {pool.attention.num_heads for pool in pools} == {2}
    if "coco8" in name:
        for _, dataset in datasets_of(cfg.train_dataloader.dataset, ""):
            assert len(dataset.metainfo.classes) == 8
    weights = (cfg.model.backbone.get("init_cfg") or {}).get("checkpoint", "")
    if weights.startswith("torchvision://"):
        assert weights == f"torchvision://resnet{model.backbone.depth}"


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


def test_the_authors_recipes_of_detectors():
    def read(path):
        return Config.fromfile(ROOT / "configs/detection" / path)

    cfg = read("faster_rcnn/faster-rcnn_keyword-resnet18_fpn_1x_coco.py")
    sgd = dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4)
    assert cfg.optim_wrapper.optimizer == sgd
    assert cfg.optim_wrapper.clip_grad.max_norm == 20
    assert cfg.train_cfg.max_epochs == 12
    assert cfg.param_scheduler[1].milestones == [8, 11]
    for network, channels in (("mobilenet", [96, 1280]), ("resnet18", [256, 512])):
        cfg = read(f"ssd/ssdlite_keyword-{network}_20e_coco.py")
        sgd = dict(type="SGD", lr=0.015, momentum=0.9, weight_decay=4e-5)
        assert cfg.optim_wrapper.optimizer == sgd
        assert cfg.train_cfg.max_epochs == 20
        assert cfg.train_dataloader.batch_size == 16
        assert cfg.auto_scale_lr.base_batch_size == 16
        assert cfg.train_dataloader.dataset.type == "CocoDataset"  # not repeated
        assert cfg.param_scheduler[1].type == "CosineAnnealingLR"
        assert cfg.param_scheduler[1].T_max == 20
        resize = [s.scale for s in cfg.train_dataloader.dataset.pipeline
                  if s.type == "Resize"]  # fmt: skip
        assert resize == [(320, 320)]
        model = build_model(cfg)
        assert model.bbox_head.in_channels == [*channels, 512, 256, 256, 128]
        strides = [s for s, _ in model.bbox_head.prior_generator.strides]
        assert strides == [16, 32, 64, 107, 160, 320]
