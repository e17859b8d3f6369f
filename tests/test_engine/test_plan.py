"""What a plan stands for, and what can be wrong with one."""

import json
from pathlib import Path
from threading import Thread

import pytest
from mmengine.config import Config

from attnpool_mm.engine.plan import read_plan
from attnpool_mm.engine.plan_costs import check_equal, cost_of
from attnpool_mm.engine.plan_records import (
    config_digest,
    one_writer,
    read_records,
    write_records,
)
from attnpool_mm.engine.plan_runner import PlanRunner
from attnpool_mm.utils.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs/classification/fashion_mnist/"
             "resnet20-strided_1xb64_fashion-mnist.py")  # fmt: skip
PLAN = dict(
    configs={"ResNet-20": CONFIG},
    metric="accuracy/top1",
    options={"model.backbone.depth": 8},
    axes=dict(
        stride={
            "2": {"model.backbone.stem_pool_cfg.stride": 2},
            "4": {"model.backbone.stem_pool_cfg.stride": 4},
        },
        pool={
            "max": {"model.backbone.stem_pool_cfg": dict(type="MaxPool2d")},
            "average": {"model.backbone.stem_pool_cfg": dict(type="AvgPool2d")},
        },
    ),
    seeds=2,
    reference=dict(pool="max"),
)


@pytest.fixture
def plan_of(tmp_path):
    """Write a plan with some values changed, and read it."""

    def read(**changes):
        values = {k: v for k, v in {**PLAN, **changes}.items() if v is not None}
        path = tmp_path / "plan.py"
        path.write_text("\n".join(f"{k} = {v!r}" for k, v in values.items()))
        return read_plan(str(path))

    return read


def record_of(runner, name):
    """What a training of 50 % accuracy leaves."""
    return dict(
        name=name,
        levels=runner.runs[name].levels,
        seed=runner.runs[name].seed,
        config=dict(digest=config_digest(runner.configs[name])),
        epochs=[{"accuracy/top1": 50.0}],
        problem="",
    )


def test_every_combination_with_every_seed(plan_of):
    runs = plan_of().runs()
    assert [run.name for run in runs[:4]] == [
        f"resnet-20_{stride}_{pool}_seed0" for stride in "24" for pool in
        ("max", "average")
    ]  # fmt: skip
    assert [run.seed for run in runs] == [0] * 4 + [1] * 4
    assert runs[1].levels == dict(network="ResNet-20", stride="2", pool="average")
    assert len({run.group for run in runs}) == 4


def test_the_options_of_all_axes_hold(plan_of):
    configs = plan_of().whole_configs()
    for stride in (2, 4):
        for pool, kind in (("max", "MaxPool2d"), ("average", "AvgPool2d")):
            backbone = configs[f"resnet-20_{stride}_{pool}_seed1"].model.backbone
            assert backbone.stem_pool_cfg == dict(type=kind, stride=stride)
            assert backbone.depth == 8
    seeds = [cfg.randomness.seed for cfg in configs.values()]
    assert seeds == [0] * 4 + [1] * 4


def test_what_is_left_out(plan_of):
    plan = plan_of(exclude=[dict(stride=["4"], pool=["max", "average"])])
    assert {run.levels["stride"] for run in plan.runs()} == {"2"}
    plan = plan_of(exclude=[dict(stride="4", pool="max")], seeds=[7])
    assert [run.group for run in plan.runs()] == [
        "resnet-20_2_max",
        "resnet-20_2_average",
        "resnet-20_4_average",
    ]
    references = [plan.reference_of(run) for run in plan.runs()]
    assert references == ["resnet-20_2_max", "resnet-20_2_max", None]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(metric=None), ["metric"]),
        (dict(axis={}), ["axis", "axes"]),
        (dict(configs={"a": "nowhere.py"}), ["configs", "nowhere.py"]),
        (dict(axes=dict(network={"a": {}})), ["network"]),
        (dict(axes=dict(pool={"a": 1})), ["axes.pool", "a"]),
        (dict(axes=dict(pool={"a b": {}, "a-b": {}}), reference={}), ["a-b"]),
        (dict(seeds=0), ["seeds=0"]),
        (dict(seeds=[1, "a"]), ["seeds", "'a'"]),
        (dict(seeds=[2**32]), ["seeds", str(2**32)]),
        (dict(configs={"日本": CONFIG}), ["configs", "日本"]),
        (dict(exclude=[dict(pool="max")]), ["reference", "max"]),
        (dict(reference=dict(poll="max")), ["reference", "poll", "pool"]),
        (dict(reference=dict(pool="min")), ["reference.pool", "min", "average"]),
        (dict(exclude=[dict(pool="min")]), ["exclude.pool", "min"]),
        (dict(exclude=["max"]), ["exclude", "max"]),
        (dict(exclude=5), ["exclude=5"]),
        (dict(exclude=[dict(pool=[])]), ["exclude", "[]"]),
        (dict(configs={1: CONFIG}), ["configs", "1"]),
        (dict(axes=dict(pool={1: {}}), reference={}), ["axes.pool", "1"]),
        (dict(axes=dict(pool={"a": {1: 2}}), reference={}), ["axes.pool, a", "1"]),
        (dict(options={1: 2}), ["options", "1"]),
        (dict(exclude=[dict(pool=["max", "average"])]), ["exclude"]),
        (dict(equal=dict(cost="time", within=0.1)), ["equal", "flops"]),
        (dict(equal=dict(cost="flops", within=2)), ["equal", "within"]),
        (dict(equal=dict(cost="flops", within=0.1), reference={}), ["reference"]),
    ],
)
def test_what_is_not_accepted(plan_of, changes, words):
    with pytest.raises(ConfigError) as error:
        plan_of(**changes)
    assert all(word in str(error.value) for word in words)


def test_an_option_that_does_not_fit_names_the_network(plan_of):
    plan = plan_of(options={"modle.backbone.depth": 8})
    with pytest.raises(ConfigError, match="resnet-20_2_max") as error:
        plan.whole_configs()
    assert "modle" in str(error.value)


def test_a_patch_that_does_not_fit_is_told_before_any_training(plan_of, tmp_path):
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.depth = 8
    nlp = dict(type="SelfAttentivePool2d", patch_size=4, normalize=False)
    cfg.model.backbone.update(strides=(4, 2, 2), pool_cfg=nlp)
    assert cost_of(cfg)["flops"] > 0
    cfg.model.backbone.strides = (8, 2, 2)
    with pytest.raises(ConfigError, match="patch_size=4 .*2x2"):
        cost_of(cfg)


def test_networks_that_should_be_equal(plan_of):
    equal = dict(cost="flops", within=0.03)
    plan = plan_of(equal=equal)
    costs = {run.group: dict(flops=100) for run in plan.runs()}
    costs["resnet-20_4_average"]["flops"] = 103
    check_equal(plan, costs)
    costs["resnet-20_4_average"]["flops"] = 104
    with pytest.raises(ConfigError) as error:
        check_equal(plan, costs)
    assert "resnet-20_4_average" in str(error.value) and "104" in str(error.value)
    del costs
    alone = plan_of(equal=equal, exclude=[dict(stride="4", pool="max")])
    costs = {run.group: dict(flops=1) for run in alone.runs()}
    with pytest.raises(ConfigError, match="resnet-20_4_average"):
        check_equal(alone, costs)


def test_cost_is_that_of_one_image(plan_of):
    cfg = plan_of().whole_configs()["resnet-20_2_max_seed0"]
    cost = cost_of(cfg)
    assert cost["shape"] == [1, 32, 32]
    # stem, three stages of one block, shortcuts, and the classes
    convs = [(1, 16, 3, 32), (16, 16, 3, 16), (16, 16, 3, 16), (16, 32, 3, 8)]
    convs += [(32, 32, 3, 8), (16, 32, 1, 8), (32, 64, 3, 4), (64, 64, 3, 4)]
    convs += [(32, 64, 1, 4)]
    flops = sum(2 * a * b * k * k * side * side for a, b, k, side in convs)
    assert cost["flops"] == flops + 2 * 64 * 10
    assert cost["peak_fused"] == 16 * 32 * 32 + 16 * 16 * 16
    assert cost["peak_unfused"] >= cost["peak_fused"]


def test_the_digest_does_not_depend_on_where_data_lie():
    def digest(root, lr=0.1, file="val.json"):
        dataset = dict(type="CocoDataset", data_root=root, ann_file=file)
        loader = dict(batch_size=64, dataset=dataset)
        metric = dict(type="CocoMetric", ann_file=root + file)
        cfg = dict(data_root=root, val_dataloader=loader, val_evaluator=metric, lr=lr)
        return config_digest(Config(cfg))

    assert digest("data/coco/") == digest("/elsewhere/coco/")
    assert digest("data/") != digest("data/", lr=0.2)
    assert digest("data/") != digest("data/", file="other.json")


def test_what_is_done_is_not_done_again(plan_of, tmp_path):
    axes = dict(pool=PLAN["axes"]["pool"])
    plan, path = plan_of(axes=axes), tmp_path / "results.json"
    runner = PlanRunner(plan, path)
    names = list(runner.runs)
    assert runner.missing == names
    done = record_of(runner, names[1])
    failed = record_of(runner, names[0]) | dict(problem="it diverged", epochs=[])
    write_records(path, plan, {r["name"]: r for r in (done, failed)}, None)
    again = PlanRunner(plan, path)
    assert again.missing == [names[0], *names[2:]]
    assert list(again.records) == names[:2]  # with what failed
    changed = plan_of(axes=axes, options={"model.backbone.depth": 14})
    changed = PlanRunner(changed, path)
    assert changed.missing == names and changed.others == 2
    other_metric = PlanRunner(plan_of(axes=axes, metric="accuracy/top5"), path)
    assert other_metric.missing == names and other_metric.others == 1
    path.write_text("{}")
    with pytest.raises(ConfigError, match=r"results\.json"):
        PlanRunner(plan, path)


def test_a_record_without_an_epoch_is_not_done(plan_of, tmp_path):
    plan, path = plan_of(axes=dict(pool=PLAN["axes"]["pool"])), tmp_path / "r.json"
    runner = PlanRunner(plan, path)
    first, second, *rest = runner.runs
    cut_off = record_of(runner, first) | dict(epochs=[])
    short = record_of(runner, second)
    del short["problem"]  # it may be absent
    write_records(path, plan, {first: cut_off, second: short}, None)
    again = PlanRunner(plan, path)
    assert again.missing == [first, *rest] and again.others == 1


@pytest.mark.parametrize(
    "changes",
    [
        dict(config=None),
        dict(config=[]),
        dict(config={}),
        dict(config="0a"),
        dict(problem=None),
        dict(problem=["it diverged"]),
        dict(epochs=None),
        dict(epochs=[7]),
        dict(epochs=[None]),
        dict(epochs=[{"accuracy/top1": "50"}]),
        dict(epochs=[{"accuracy/top1": 10**400}]),
        dict(epochs={"0": {}}),
        dict(seconds="1"),
        dict(name=["a"]),
        dict(levels={"pool": ["max"]}),
        dict(levels=[]),
        dict(seed={}),
    ],
    ids=lambda changes: str(changes)[:50],
)
def test_a_record_of_other_types(plan_of, tmp_path, changes):
    plan, path = plan_of(axes=dict(pool=PLAN["axes"]["pool"])), tmp_path / "r.json"
    runner = PlanRunner(plan, path)
    name = next(iter(runner.runs))
    write_records(path, plan, {name: record_of(runner, name)}, None)
    good = json.loads(path.read_text())
    good["runs"][0] |= changes
    path.write_text(json.dumps(good))
    assert_no_results(plan, path)


@pytest.mark.parametrize("text", ["[" * 10**5, "7", "[]", '{"runs": [7]}', "\xff"])
def test_a_file_of_no_results(plan_of, tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text, encoding="latin1")
    assert_no_results(plan_of(), path)


@pytest.mark.parametrize(
    "changes",
    [dict(exclude=[7]), dict(reference=[]), dict(axes={"pool": [[]]}), dict(timing=[])],
    ids=str,
)
def test_results_of_other_types(plan_of, tmp_path, changes):
    plan, path = plan_of(axes=dict(pool=PLAN["axes"]["pool"])), tmp_path / "r.json"
    write_records(path, plan, {}, None)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert_no_results(plan, path)


def assert_no_results(plan, path):
    with pytest.raises(ConfigError, match=r"--json .*r\.json: it holds no") as caught:
        PlanRunner(plan, path)
    assert "\n" not in str(caught.value)


def test_who_writes_the_results_waits_for_another_that_does(plan_of, tmp_path):
    plan, path = plan_of(axes=dict(pool=PLAN["axes"]["pool"])), tmp_path / "out/r.json"
    runner = PlanRunner(plan, path)
    first, second, *_ = runner.runs
    other = Thread(target=runner.add, args=[record_of(runner, second)])
    with one_writer(path):
        known = read_records(path)  # by now
        other.start()
        other.join(0.5)
        write_records(path, plan, known | {first: record_of(runner, first)}, None)
    other.join()
    assert PlanRunner(plan, path).missing == list(runner.runs)[2:]


def test_two_plans_with_one_file_do_not_replace_each_other(plan_of, tmp_path):
    path, axes = tmp_path / "r.json", dict(pool=PLAN["axes"]["pool"])
    first = PlanRunner(plan_of(axes=axes), path)
    other = PlanRunner(plan_of(axes=axes, options={"model.backbone.depth": 14}), path)
    one, two, *_ = first.runs
    first.add(record_of(first, one))
    other.add(record_of(other, one))  # the other's are kept aside once
    with pytest.raises(ConfigError, match=r"--json .*r\.json"):
        first.add(record_of(first, two))
    assert PlanRunner(other.plan, path).missing == list(first.runs)[1:]


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (dict(corruptions=["gausian_noise"]), ["robustness", "gausian_noise"]),
        (dict(severity=9), ["robustness", "severity", "9"]),
        (dict(corruptions=[]), ["test_dataloader", "nowhere"]),
    ],
)
def test_what_a_hook_is_given_is_checked_before_the_first_training(
    plan_of, tmp_path, hook, words
):
    (tmp_path / "data").mkdir()
    hook = dict(type="attnpool_mm.RobustnessHook", **hook)
    options = PLAN["options"] | {"default_hooks.robustness": hook}
    for name, root in (("train", "data"), ("val", "data"), ("test", "nowhere")):
        options[f"{name}_dataloader.dataset.data_root"] = str(tmp_path / root)
    with pytest.raises(ConfigError) as error:
        PlanRunner(plan_of(options=options), tmp_path / "r.json").check()
    assert all(word in str(error.value) for word in words)


def test_the_plan_of_the_documentation(tmp_path):
    text = (ROOT / "docs/plans.md").read_text()
    (tmp_path / "evidence").mkdir()
    for folder in ("_base_", "classification"):
        (tmp_path / folder).symlink_to(ROOT / "configs" / folder)
    path = tmp_path / "evidence/plan.py"
    path.write_text(text.split("```python")[1].split("```")[0])
    plan = read_plan(str(path))
    assert len(plan.runs()) == (2 * 3 - 1) * 3
    configs = plan.whole_configs()
    assert configs["resnet-20_aggressive_lip_seed2"].model.backbone.strides == (2, 2, 2)
