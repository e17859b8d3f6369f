"""Every config builds what its name says; one of each kind learns and predicts."""

import json
import re
from copy import deepcopy
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch
from config_runs import build_model, evaluate, shrink, train_a_step, write_data_sets
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from tool_modules import load_tool

from attnpool_mm.engine.arguments import check_arguments
from attnpool_mm.engine.preflight import check_data_paths, datasets_of
from attnpool_mm.layers import SPEM
from attnpool_mm.layers.dynamic_conv import DynamicConv2d
from attnpool_mm.pooling import (
    DeformableSelfAttentivePool2d,
    GaussianPool2d,
    LocalImportancePool2d,
    MixedPool2d,
    SelfAttentivePool2d,
)
from attnpool_mm.utils.config import build_for_counting, image_size

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT / "configs").as_posix()
    for path in (ROOT / "configs").rglob("*.py")
    if not {"_base_", "evidence"} & {*path.parts}
)
DATA_SETS = dict(
    cifar10="CIFAR10",
    cifar100="CIFAR100",
    coco="CocoDataset",
    coco8="CocoDataset",
    digits="Digits",
    **{"fashion-coco": "CocoDataset", "fashion-mnist": "FashionMNIST"},
    in1k="ImageNet",
    mnist="MNIST",
    stl10="STL10",
    vww="VisualWakeWords",
)
# configs/README.md has it in words
NAME = re.compile(
    rf"""
    (?:(?P<detector>detr|faster-rcnn|rtmdet|ssdlite|yolov3|yolox)_)?
    (?P<network>[a-z0-9-]+?)
    (?:-(?P<method>nlp|lip|strided|se|spem|spem-plugin))?
    (?:-(?P<place>stage-start|block-end|stage-end))?
    (?:-(?P<strides>\d{{4}}|\d{{7}}))?
    (?:_fpn)?
    _(?:1x|(?P<gpus>\d+)xb(?P<batch>\d+)(?:-(?P<side>\d+))?(?:-(?P<epochs>\d+)e)?)
    _(?P<data>{"|".join(DATA_SETS)})
    (?:-(?P<pixels>\d+)px)?
    """,
    re.VERBOSE,
)
# The authors' words for a network with its pools at a place, and for a method
NETWORKS = {
    ("resnet18", None): "resnet18",
    ("resnet18", "stage-end"): "resnet18",
    ("resnet50", "stage-end"): "resnet50",
    ("mobilenetv2", None): "mobilenet",
    ("mobilenetv2", "block-end"): "mobilenet_v2",
}
METHODS = dict(nlp="nlp_headfix2_nowin", lip="lip", strided="skip")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with write_data_sets(folder) as known:
        known.setenv("ATTNPOOL_DATA", str(folder))
        yield folder


@cache
def _read(path):
    return Config.fromfile(ROOT / "configs" / path)


@pytest.fixture
def read(data):
    """Read a config, whose data are the small ones of this module."""
    return lambda path: deepcopy(_read(path))


@pytest.fixture(scope="module")
def config_row():
    return load_tool("misc/index_configs.py").config_row


@pytest.fixture(scope="module")
def table():
    """The lines of the page that says what each config costs."""
    return set((ROOT / "docs/configs.md").read_text().splitlines())


@pytest.fixture(scope="module")
def ran():
    """The kinds of networks and of data that have made a training step."""
    return set()


@pytest.mark.parametrize("path", CONFIGS)
def test_config(path, read, ran, table, config_row):
    cfg = read(path)
    check_sections(path, cfg)
    check_arguments(cfg)
    check_data_paths(cfg, ("train", "val", "test"))
    name = NAME.fullmatch(Path(path).stem)
    if name:
        check_recipe(name, cfg)
    kinds = kinds_of(path, cfg)
    if kinds <= ran:
        model = build_for_counting(cfg)
        if name:
            check_network(name, cfg, model)
        return
    small = deepcopy(cfg)
    shrink(small)
    model = build_model(small)
    if name:
        check_network(name, cfg, model)
    # all rows: `tools/misc/index_configs.py --check`, in `make test-slow`
    row = str(config_row(f"configs/{path}", cfg, model))
    table_has_it = row in table
    assert table_has_it, f"tools/misc/index_configs.py gives another row: {row}"
    check_run(small, model)
    ran |= kinds


def kinds_of(path, cfg):
    """What a training step may depend on, but for the pool's own arguments."""
    data = Path(path).stem.rpartition("_")[2].partition("-")[0]
    backbone = cfg.model.backbone
    inner = backbone.get("backbone", backbone)
    special = sorted({"attention_cfg", "plugins"} & backbone.keys())
    detector = Path(path).parent if cfg.default_scope == "mmdet" else ""
    return {("data", data), ("network", detector, cfg.model.type, inner.type, *special)}


def check_sections(path, cfg):
    """A config has what a runner needs."""
    for name in ("train", "val", "test"):
        assert cfg[f"{name}_cfg"] is not None
        assert cfg[f"{name}_dataloader"].dataset
    assert cfg.optim_wrapper.optimizer.lr > 0
    assert "demo" in path or cfg.auto_scale_lr.base_batch_size > 0


def check_recipe(name, cfg):
    """A config has the data, the batch and the epochs that its name says."""
    one_x = dict(gpus=8, batch=2, epochs=12)
    gpus, batch, epochs = (
        int(name[key] or 0) if name["gpus"] else value for key, value in one_x.items()
    )
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == gpus * batch
    if epochs:
        times = cfg.train_dataloader.dataset.get("times", 1)
        assert cfg.train_cfg.max_epochs * times == epochs
    unpadded = Config(dict(test_dataloader=cfg.test_dataloader))
    for side in filter(None, (name["side"], name["pixels"])):
        assert image_size(unpadded) == (int(side), int(side))
    for split in ("train", "val", "test"):
        for _, dataset in datasets_of(cfg[f"{split}_dataloader"].dataset, ""):
            assert dataset.type.rpartition(".")[2] == DATA_SETS[name["data"]]
            if name["data"] == "coco8":
                assert len(dataset.metainfo.classes) == 8


def check_network(name, cfg, model):
    """A config has the network that its name says."""
    backbone = cfg.model.backbone
    network = name["network"].replace("mobilenet-v2", "mobilenetv2")
    if "arch" in backbone:
        strides = "1222121" if network == "mobilenetv2" else "1222"
        assert backbone.arch == "-".join((
            NETWORKS[network, name["place"]],
            METHODS[name["method"]],
            name["strides"] or strides,
        ))  # fmt: skip
    if name["method"] == "nlp":  # the form that the authors recommend
        pools = [m for m in model.modules() if isinstance(m, SelfAttentivePool2d)]
        assert pools and not any(pool.normalize for pool in pools)
        assert {pool.attention.num_heads for pool in pools} == {2}
    penalized = [m.p for m in model.modules() if isinstance(m, SPEM)]
    assert bool(penalized) == (name["method"] in ("spem", "spem-plugin"))
    weights = (backbone.get("init_cfg") or {}).get("checkpoint", "")
    if weights.startswith("torchvision://"):
        assert weights == f"torchvision://{network}"


def check_run(cfg, model):
    """A step of training changes the model, and it predicts."""
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
    penalized = [m.p for m in model.modules() if isinstance(m, SPEM)]
    if penalized:
        groups = wrapper.optimizer.param_groups
        decays = {p: group["weight_decay"] for group in groups for p in group["params"]}
        assert all(decays[p] >= 0.2 for p in penalized)
        assert any(hook.type.endswith("SPEMLoggerHook") for hook in cfg.custom_hooks)


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
        # an untrained YOLOX's sizes are exponentials that overflow
        assert cfg.model.type == "YOLOX" or found.bboxes.isfinite().all()
    assert 0 <= metrics["coco/bbox_mAP"] <= 1


def test_names_follow_the_grammar():
    """Those of the demo's two configs are shorter."""
    for path in CONFIGS:
        if path.startswith("demo/"):
            continue
        name = NAME.fullmatch(Path(path).stem)
        assert name, path
        assert bool(name["detector"]) == path.startswith("detection/"), path
        pooled = name["method"] in ("nlp", "lip")
        assert bool(name["place"]) == pooled, path


def test_no_two_configs_are_the_same(read):
    resolved = {}
    for path in CONFIGS:
        text = json.dumps(read(path).to_dict(), sort_keys=True, default=str)
        assert text not in resolved, (path, resolved[text])
        resolved[text] = path


def test_the_data_have_crowds_and_empty_images(read):
    """The detectors above were fed with what COCO has."""
    cfg = read(
        "detection/faster_rcnn/faster-rcnn_resnet18-nlp-stage-end_fpn_1x_coco.py"
    )
    cfg.val_dataloader.dataset.test_mode = True
    with DefaultScope.overwrite_default_scope("mmdet"):
        val = DATASETS.build(cfg.val_dataloader.dataset)
        train = DATASETS.build(cfg.train_dataloader.dataset)
    crowds = [any(i["ignore_flag"] for i in val.get_data_info(n)["instances"])
              for n in range(len(val))]  # fmt: skip
    empty = [not val.get_data_info(n)["instances"] for n in range(len(val))]
    assert any(crowds) and any(empty)
    assert len(train) < len(val)  # those without a box are left out of training


def test_the_authors_recipes_of_detectors(read):
    cfg = read(
        "detection/faster_rcnn/faster-rcnn_resnet18-nlp-stage-end_fpn_1x_coco.py"
    )
    sgd = dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4)
    assert cfg.optim_wrapper.optimizer == sgd
    assert cfg.optim_wrapper.clip_grad.max_norm == 20
    assert cfg.train_cfg.max_epochs == 12
    assert cfg.param_scheduler[1].milestones == [8, 11]
    for network, channels in (
        ("mobilenetv2-nlp-block-end", [96, 1280]),
        ("resnet18-nlp-stage-end", [256, 512]),
    ):
        cfg = read(f"detection/ssd/ssdlite_{network}_1xb16-20e_coco.py")
        sgd = dict(type="SGD", lr=0.015, momentum=0.9, weight_decay=4e-5)
        assert cfg.optim_wrapper.optimizer == sgd
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


class TestAuthorsConfigs:
    """docs/authors_configs.md: a config and an option for each of theirs."""

    page = (ROOT / "docs/authors_configs.md").read_text()
    rows = [
        (path, *row)
        for path, lines in re.findall(
            r"^\[configs/(\S+)\].*\n\n((?:\|.*\n)+)", page, re.M
        )
        for row in re.findall(r"\| (\w+) \| (\w+) \| (\d+) \| `(\S+)` \|", lines)
    ]
    pools = {
        "skip": None,
        "lip": LocalImportancePool2d,
        "gaussian_pool": GaussianPool2d,
        "nlp": SelfAttentivePool2d,
        "dfmnlp": DeformableSelfAttentivePool2d,
        "mixp": MixedPool2d,
        "dfmixp": MixedPool2d,
    }

    def test_lists_all_that_the_authors_ship(self):
        four = ("skip", "lip", "gaussian_pool", "nlp")
        small, large = ("resnet18", "dyresnet18"), ("resnet50", "dyresnet50")
        reduced = ("nlp_reduced", "dfmnlp_reduced", "mixp_reduced", "dfmixp_reduced")
        ssd = {"resnet18": "1222", "mobilenet": "1222121"}
        expected = {
            "faster_rcnn": [
                *product(small, (*four, *reduced), ["1222"]),
                *product(large, four, ["1222", "2222", "4222"]),
            ],
            "ssd": [
                *((n, p, ssd[n]) for n, p in product(ssd, (*four, "dfmnlp"))),
                *((f"dy{n}", "nlp", strides) for n, strides in ssd.items()),
                *product(["mobilenet"], ["skip"], ["2222121", "4222121"]),
            ],
            "yolov3": [
                *product(["resnet18"], (*four, "dfmnlp"), ["1222", "2222", "4222"]),
                *product(["mobilenet"], (*four, "dfmnlp"), ["1222121"]),
            ],
        }
        listed = [(Path(path).parts[1], *row[:3]) for path, *row in self.rows]
        assert sorted(listed) == sorted(
            (folder, *row) for folder, rows in expected.items() for row in rows
        )

    @pytest.mark.parametrize("path", sorted({row[0] for row in rows}))
    # "reduced" keywords are average pooling in some stages, as the authors have them
    @pytest.mark.filterwarnings("default:SelfAttentivePool2d with patch_size")
    def test_each_row_builds(self, path, read):
        rows = [row for row in self.rows if row[0] == path]
        for _, network, pool, strides, option in rows:
            cfg = read(path)
            cfg.merge_from_dict(dict([option.split("=")]))
            # The whole detector checks anchors and neck; a config's rows have the
            # same strides.
            if option not in (rows[0][-1], rows[-1][-1]):
                cfg.model = cfg.model.backbone
            model = build_for_counting(cfg)
            backbone = getattr(model, "backbone", model)
            kind = self.pools[pool.removesuffix("_reduced")]
            pools = [m for m in backbone.modules() if kind and type(m) is kind]
            assert [m.stride for m in pools] == [
                int(s) for s in strides if s != "1" and kind
            ], option
            if pool == "nlp_reduced":
                assert [m.patch_size for m in pools] == [2, 1, 1]
            dynamic = any(isinstance(m, DynamicConv2d) for m in backbone.modules())
            assert dynamic == network.startswith("dy")
