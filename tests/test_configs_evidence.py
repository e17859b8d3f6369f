"""The plans of `configs/evidence/`: their networks run, and cost what they say."""

import dataclasses
import json
import warnings
from functools import cache
from pathlib import Path

import pytest
import torch
from mmpretrain.models.utils import SELayer
from torch._subclasses import FakeTensorMode

from attnpool_mm.analysis import measure_complexity
from attnpool_mm.engine import trained
from attnpool_mm.engine.arguments import check_arguments
from attnpool_mm.engine.plan import read_plan
from attnpool_mm.engine.plan_records import config_digest
from attnpool_mm.layers import SPEM
from attnpool_mm.pooling import (
    LocalImportancePool2d,
    SelfAttentivePool2d,
    StridedConv2d,
)
from attnpool_mm.utils.config import build_for_counting, input_shape

FOLDER = Path(__file__).parents[1] / "configs/evidence"
SMALL = (
    "spem",
    "ablations",
    "equal-flops",
    "equal-memory",
    "classification_resnet14",
    "classification_mobilenet-v2",
    "prepool",
)
LARGER = tuple(f"{name}_gpu" for name in SMALL)
DETECTION = "detection_fashion-coco"
DETECTORS = {
    "strided-as-published": (),
    "strided": StridedConv2d,
    "lip": LocalImportancePool2d,
    "nlp-patch-2": SelfAttentivePool2d,
    "spem": SPEM,
}
RESULTS = [*(FOLDER.parents[1] / "docs/evidence").glob("*.json")]
EQUAL = {"flops": "equal-flops", "peak_unfused": "equal-memory"}

pytestmark = pytest.mark.filterwarnings("ignore:.*cancels")


@cache
def plan(name):
    return read_plan(str(FOLDER / f"{name}.py"))


@cache
def networks(name):
    """The whole config of each of a plan's networks, by its name."""
    first = dataclasses.replace(plan(name), seeds=[0])
    configs = first.whole_configs()
    return {run.group: configs[run.name] for run in first.runs()}


def assert_runs(cfg):
    """In training, without values."""
    model = build_for_counting(cfg).train()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        out = model(torch.empty(2, *input_shape(cfg)), mode="tensor")
    classes = cfg.model.head.num_classes
    assert model.head.fc.out_features == classes == 10
    assert len(out[-1] if isinstance(out, tuple) else out) == 2


def test_networks_run():
    """Those of the plans of equal cost run below."""
    for group, cfg in (networks("spem") | networks("ablations")).items():
        if not group.startswith("resnet_56_"):
            assert_runs(cfg)


@pytest.mark.parametrize("name", LARGER)
def test_networks_of_the_larger_plans_run(name):
    """One of each data set: the others are those of the small plans."""
    configs = reversed(networks(name).values())
    for cfg in {c.test_dataloader.dataset.type: c for c in configs}.values():
        assert_runs(cfg)


@pytest.mark.parametrize("name", SMALL + LARGER)
def test_no_two_networks_are_the_same(name):
    configs = networks(name).values()
    different = {json.dumps(cfg.to_dict(), default=str) for cfg in configs}
    assert len(different) == len(configs) > 1


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_results_are_of_the_plans_as_they_are(path):
    """Each network's first training stands for the others."""
    results, expected = json.loads(path.read_text()), plan(path.stem)
    assert results["axes"] == expected.levels
    assert results["seeds"] == len(expected.seeds)
    assert results["reference"] == expected.reference
    assert results["exclude"] == list(expected.exclude)
    digests = {name: config_digest(cfg) for name, cfg in networks(path.stem).items()}
    first = [run for run in results["runs"] if run["seed"] == 0]
    assert first
    for run in first:
        group = run["name"].removesuffix("_seed0")
        assert run["config"]["digest"] == digests[group], group


@pytest.mark.parametrize("small, larger", [*zip(SMALL, LARGER, strict=True)])
def test_the_larger_plans_are_larger(small, larger):
    short, long = (next(iter(networks(name).values())) for name in (small, larger))
    assert long.train_cfg.max_epochs > short.train_cfg.max_epochs
    assert short.train_dataloader.dataset.indices == 10_000
    assert long.train_dataloader.dataset.get("indices") is None
    assert len(plan(larger).seeds) == 5 >= len(plan(small).seeds) >= 3


@pytest.mark.parametrize("cost", EQUAL)
def test_networks_of_equal_cost(cost):
    equal = plan(EQUAL[cost])
    assert equal.equal == dict(cost=cost, within=0.03)
    attention = cost.rpartition("_")[2] if cost != "flops" else "fused"
    values = {}
    for group, cfg in networks(EQUAL[cost]).items():
        (crop,) = (
            step.crop_size
            for step in cfg.train_dataloader.dataset.pipeline
            if step.type == "RandomCrop"
        )
        assert input_shape(cfg) == (1, crop, crop)  # trained as it is tested
        counted = measure_complexity(
            build_for_counting(cfg), input_shape(cfg), attention=attention
        )
        values[group] = counted.flops if cost == "flops" else counted.arena_bytes
    reference = values[equal.reference_of(equal.runs()[0])]
    for group, value in values.items():
        assert value == pytest.approx(reference, rel=0.03), group


def test_the_degenerate_pool_is_average_pooling():
    configs = networks("ablations")
    learned, average = (
        build_model(configs[f"resnet-14_{name}"])
        for name in ("patch-2-normalised-cancels", "average")
    )
    missing, unexpected = average.load_state_dict(learned.state_dict(), strict=False)
    assert missing == [] and unexpected and all(".pool." in key for key in unexpected)
    images = torch.randn(2, 1, 32, 32)
    for training in (True, False):
        with torch.no_grad():
            y, expected = (
                model.train(training).extract_feat(images)[-1]
                for model in (learned, average)
            )
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
        assert expected.std() > 0.01


@pytest.mark.parametrize("network, places", [("faster-r-cnn", 3), ("ssdlite", 4)])
def test_detectors_differ_in_the_pools_alone(network, places):
    outputs, found = set(), {}
    for pool, kind in DETECTORS.items():
        cfg = networks(DETECTION)[f"{network}_{pool}"]
        check_arguments(cfg, ("train", "val"))
        backbone = build_for_counting(cfg).backbone
        outputs.add((tuple(backbone.out_channels), tuple(backbone.out_strides)))
        found[pool] = sum(isinstance(module, kind) for module in backbone.modules())
    assert len(outputs) == 1
    assert found.pop("spem")
    pooled = dict.fromkeys(["strided", "lip", "nlp-patch-2"], places)
    assert found == {"strided-as-published": 0, **pooled}


def test_the_larger_detectors_train_on_their_own_data(monkeypatch):
    monkeypatch.setenv("ATTNPOOL_DATA", "somewhere")
    root = "somewhere/fashion_coco_large/"
    large = read_plan(str(FOLDER / f"{DETECTION}_gpu.py"))
    assert large.levels == plan(DETECTION).levels
    assert len(large.seeds) > len(plan(DETECTION).seeds)
    pool = {"strided as published": {}}
    first = dataclasses.replace(large, axes={"pool": pool}, seeds=[0])
    for name, cfg in first.whole_configs().items():
        assert cfg.train_dataloader.dataset.data_root == root
        assert cfg.val_dataloader.dataset.data_root == root
        assert cfg.val_evaluator.ann_file.startswith(root)
        small = networks(DETECTION)[name.removesuffix("_seed0")]
        cosine = cfg.param_scheduler[1]
        assert cosine.end == cfg.train_cfg.max_epochs == cosine.T_max + 1
        assert cfg.train_cfg.max_epochs > small.train_cfg.max_epochs


def test_se_squeezes():
    """To a quarter of the channels of each stage."""
    model = build_for_counting(networks("spem")["resnet_20_se"])
    layers = [m for m in model.modules() if isinstance(m, SELayer)]
    shapes = {tuple(layer.conv1.conv.weight.shape[:2]) for layer in layers}
    assert shapes == {(2, 8), (4, 16), (8, 32)}


def build_model(cfg):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the weights cancel
        model = trained.build_network(cfg)
    model.init_weights()
    return model
