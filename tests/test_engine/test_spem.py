"""SPEM's penalty as a weight decay equals the penalty in the loss; λ in the logs."""

import copy
import itertools
import json
import warnings

import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from attnpool_mm.engine import runner_checks
from attnpool_mm.engine.cpu_amp import CPUAmpOptimWrapper
from attnpool_mm.engine.spem import SPEMOptimWrapperConstructor
from attnpool_mm.layers import SPEM
from attnpool_mm.utils.errors import ConfigError

CONSTRUCTOR = "attnpool_mm.SPEMOptimWrapperConstructor"
SGD = dict(type="SGD", lr=0.1)
X = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(8) % 2
COUNTER = itertools.count()  # MMEngine keeps loggers and visualizers by name


class Block(nn.Module):
    def __init__(self, alpha):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.attention = SPEM(4, alpha=alpha)
        for parameter in (self.attention.w1, self.attention.w2):
            nn.init.normal_(parameter)  # λ matters from the first step

    def forward(self, x):
        return (x + self.attention(self.bn(self.conv(x)))).relu()


class Network(BaseModel):
    def __init__(self, alphas=(0.1, 0.3), block=Block):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.stem = nn.Conv2d(3, 4, 3)
        self.backbone.layer1 = nn.Sequential(*map(block, alphas))
        self.head = nn.Linear(4, 2)

    def forward(self, inputs, labels=None, mode="tensor"):
        x = self.backbone.layer1(self.backbone.stem(inputs))
        logits = self.head(x.mean((2, 3)))
        if mode == "loss":
            return dict(loss=F.cross_entropy(logits, labels))
        return logits

    def attentions(self):
        return [block.attention for block in self.backbone.layer1]


def penalty(model):
    """The penalty written out."""
    return sum(
        layer.alpha * (layer.p[0] ** 2 + layer.p[1] ** 2)
        for layer in model.attentions()
    )


def build(model, optimizer=SGD, **options):
    cfg = dict(constructor=CONSTRUCTOR, optimizer=optimizer, **options)
    return build_optim_wrapper(model, cfg)


def options_by_name(optimizer, model):
    """What the optimizer does to each parameter."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: {k: v for k, v in group.items() if k != "params"}
        for group in optimizer.param_groups
        for p in group["params"]
    }


def train(model, optimizer, penalize, scaler=None, dtype=None):
    """20 steps in a plain loop, the penalty in the loss or not."""
    for step in range(20):
        x = X.roll(step, 0).to(model.head.weight.dtype)
        with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
            loss = model(x, LABELS.roll(step), mode="loss")["loss"]
        if penalize:
            loss = loss + penalty(model)
        optimizer.zero_grad()
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()


def assert_same_training(optimizer, atol, double=False, scaler=None, dtype=None):
    ours = Network()
    if double:
        ours.double()
    theirs = copy.deepcopy(ours)
    start = copy.deepcopy(ours)
    train(ours, build(ours, optimizer).optimizer, False, scaler, dtype)
    plain = build_optim_wrapper(theirs, dict(optimizer=optimizer)).optimizer
    train(theirs, plain, True, dtype=dtype)
    for (name, actual), expected, before in zip(
        ours.named_parameters(), theirs.parameters(), start.parameters(), strict=True
    ):
        torch.testing.assert_close(actual, expected, atol=atol, rtol=0, msg=name)
        if name.endswith(".p"):  # they have moved by more than the tolerance
            assert (expected - before).abs().min() > 1e3 * atol


@pytest.mark.parametrize("options", [
    dict(momentum=0.9), dict(momentum=0.9, dampening=0.5, weight_decay=1e-4),
    dict(momentum=0.9, nesterov=True, weight_decay=1e-4),
], ids=str)  # fmt: skip
def test_decay_is_the_penalty(options):
    assert_same_training(dict(SGD, lr=0.05, **options), atol=1e-6)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_decay_is_the_penalty_under_loss_scaling(dtype):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    optimizer = dict(SGD, momentum=0.9)
    assert_same_training(optimizer, atol=1e-6, scaler=scaler, dtype=dtype)


@pytest.mark.parametrize("name", [
    "SGD", "Adam", "Adamax", "Adagrad", "RMSprop", "ASGD", "Adadelta", "NAdam", "RAdam"
])  # fmt: skip
def test_exact_optimizers_do_not_warn(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer = dict(type=name, lr=0.02, weight_decay=1e-3)
        assert_same_training(optimizer, atol=1e-9, double=True)


@pytest.mark.parametrize("optimizer", [
    dict(type="AdamW", lr=0.01),
    dict(type="NAdam", lr=0.01, decoupled_weight_decay=True),
    dict(type="mmpretrain.LARS", lr=0.01),
], ids=lambda o: o["type"])  # fmt: skip
def test_another_kind_of_decay_warns_once(optimizer):
    model = Network()
    name = optimizer["type"].rpartition(".")[2]
    with pytest.warns(UserWarning, match=f"^{name} ") as caught:
        built = build(model, optimizer).optimizer
    (message,) = (str(w.message) for w in caught if "SPEM" in str(w.message))
    assert "2α" in message and "\n" not in message
    default = build_optim_wrapper(model, dict(optimizer=optimizer)).optimizer
    base = default.param_groups[0]["weight_decay"]
    decays = [g["weight_decay"] for g in built.param_groups]
    assert decays == [base, base + 0.2, base + 0.6]


def test_decoupled_decay_shrinks_p():
    model = Network(alphas=(0.0, 0.25))
    with pytest.warns(UserWarning):
        optimizer = build(model, dict(type="AdamW", lr=0.1)).optimizer
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    first, second = (layer.p for layer in model.attentions())
    assert first.tolist() == pytest.approx([0.5 * (1 - 0.1 * 0.01)] * 2)
    assert second.tolist() == pytest.approx([0.5 * (1 - 0.1 * 0.51)] * 2)


def test_an_optimizer_without_decay_is_refused():
    with pytest.raises(ConfigError, match="optimizer type='Rprop'.*SGD"):
        build(Network(), dict(type="Rprop", lr=0.1))
    build(Network(alphas=(0.0, 0.0)), dict(type="Rprop", lr=0.1))


@pytest.mark.parametrize("paramwise_cfg", [
    None,
    dict(flat_decay_mult=0.5, bias_lr_mult=2.0),
    dict(custom_keys={".p": dict(lr_mult=0.1, decay_mult=0.0)}),
    dict(custom_keys={"layer1.1": dict(lr_mult=3.0), "attention": dict(decay_mult=2)}),
], ids=str)  # fmt: skip
def test_paramwise_options_stay(paramwise_cfg):
    model = Network()
    optimizer = dict(SGD, momentum=0.9, weight_decay=0.01)
    cfg = dict(optimizer=optimizer, paramwise_cfg=paramwise_cfg)
    expected = options_by_name(build_optim_wrapper(model, cfg).optimizer, model)
    for i, alpha in enumerate((0.1, 0.3)):
        expected[f"backbone.layer1.{i}.attention.p"]["weight_decay"] += 2 * alpha
    built = build(model, optimizer, paramwise_cfg=paramwise_cfg).optimizer
    assert options_by_name(built, model) == expected
    groups = [g for g in built.param_groups if g["weight_decay"] > 0.1]
    assert [len(g["params"]) for g in groups] == [1, 1]


@pytest.mark.parametrize("alphas", [(), (0.0, 0.0)], ids=["no SPEM", "alpha=0"])
def test_without_a_penalty_it_is_the_default_constructor(alphas):
    model = Network(alphas)
    default = build_optim_wrapper(model, dict(optimizer=SGD)).optimizer
    assert build(model).optimizer.state_dict() == default.state_dict()


def test_frozen_layers_stay_out():
    model = Network()
    model.backbone.layer1[0].requires_grad_(False)
    decays = options_by_name(build(model).optimizer, model)
    assert decays["backbone.layer1.0.attention.p"]["weight_decay"] == 0
    assert decays["backbone.layer1.1.attention.p"]["weight_decay"] == 0.6


@pytest.mark.parametrize("paramwise_cfg", [None, dict(bypass_duplicate=True)], ids=str)
def test_a_shared_layer_counts_once(paramwise_cfg):
    model = Network()
    model.backbone.layer1.append(model.backbone.layer1[0])
    built = build(model, paramwise_cfg=paramwise_cfg).optimizer
    decays = sorted(group["weight_decay"] for group in built.param_groups)
    assert decays[-2:] == [0.2, 0.6] and max([0, *decays[:-2]]) == 0


def test_wrapper_type_is_kept():
    wrapper = build(
        Network(), type="attnpool_mm.CPUAmpOptimWrapper", accumulative_counts=2
    )
    assert type(wrapper) is CPUAmpOptimWrapper
    assert len(wrapper.optimizer.param_groups) == 3


@pytest.fixture
def process_group(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_wrapped_models(process_group):
    model = Network()
    wrapped = nn.parallel.DistributedDataParallel(model)
    decays = options_by_name(build(wrapped).optimizer, model)
    assert decays["backbone.layer1.1.attention.p"]["weight_decay"] == 0.6


def test_an_optimizer_that_cannot_be_regrouped_is_refused(process_group):
    zero = dict(type="ZeroRedundancyOptimizer", optimizer_type="SGD", lr=0.1)
    with pytest.raises(ConfigError, match="optimizer type='ZeroRedundancyOptimizer'"):
        build(Network(), zero)


def with_pooling(*poolings):
    """A network whose layers pool so; only the adaptive ones have a `p`."""
    model = Network()
    for block, pooling in zip(model.backbone.layer1, poolings, strict=True):
        block.attention = SPEM(4, alpha=block.attention.alpha, pooling=pooling)
    return model


def test_only_adaptive_layers_are_penalised():
    model = with_pooling("max", "avg")
    default = build_optim_wrapper(model, dict(optimizer=SGD)).optimizer
    assert build(model).optimizer.state_dict() == default.state_dict()
    model = with_pooling("min", "adaptive")
    decays = options_by_name(build(model).optimizer, model)
    penalised = {k: v["weight_decay"] for k, v in decays.items() if v["weight_decay"]}
    assert penalised == {"backbone.layer1.1.attention.p": 0.6}


@pytest.mark.parametrize("poolings", [("max", "adaptive"), ("max", "avg")])
def test_hook_records_the_lambdas_there_are(tmp_path, poolings):
    model = with_pooling(*poolings)
    hook = dict(type="attnpool_mm.SPEMLoggerHook", interval=5)
    runner = make_runner(tmp_path, model, custom_hooks=[hook])
    runner_checks.check_spem(runner)
    runner.train()
    (file,) = tmp_path.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    records = [{*line} - {"step"} for line in lines if "loss" not in line]
    learned = "adaptive" in poolings
    assert records == [{"spem_lambda/layer1.1"}] * 2 * learned
    penalties = [line["spem_penalty"] for line in lines if "loss" in line]
    assert len(penalties) == 6 and all((v > 0) == learned for v in penalties)


class Witness(Hook):
    """Writes down λ and the penalty after every step, from the formulas."""

    priority = "VERY_LOW"

    def __init__(self):
        self.lambdas, self.penalties = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        squares = [(layer.p.detach() ** 2).tolist() for layer in model_of(runner)]
        self.lambdas.append([a / (a + b) for a, b in squares])
        self.penalties.append(penalty(runner.model).item())


def model_of(runner):
    return runner.model.attentions()


def make_runner(work_dir, model=None, optim_wrapper=None, by_epoch=True, **settings):
    data = [dict(inputs=x, labels=y) for x, y in zip(X, LABELS, strict=True)]
    name = f"spem{next(COUNTER)}"
    if optim_wrapper is None:
        optim_wrapper = dict(constructor=CONSTRUCTOR, optimizer=dict(SGD, momentum=0.9))
    length = dict(max_epochs=3) if by_epoch else dict(max_iters=12)
    return Runner(
        Network() if model is None else model,
        str(work_dir),
        train_dataloader=DataLoader(data, batch_size=2),
        train_cfg=dict(by_epoch=by_epoch, **length),
        optim_wrapper=optim_wrapper,
        default_scope="mmengine",
        default_hooks=dict(logger=dict(type="LoggerHook", interval=2)),
        log_processor=dict(by_epoch=by_epoch),
        visualizer=dict(
            type="Visualizer",
            name=name,
            vis_backends=[dict(type="LocalVisBackend")],
        ),
        experiment_name=name,
        **settings,
    )


@pytest.mark.parametrize("by_epoch", [True, False])
def test_hook_writes_what_is_learned(tmp_path, by_epoch):
    witness = Witness()
    hook = dict(type="attnpool_mm.SPEMLoggerHook", interval=5)
    runner = make_runner(tmp_path, by_epoch=by_epoch, custom_hooks=[hook, witness])
    runner.train()
    (file,) = tmp_path.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    records = [line for line in lines if any("lambda" in key for key in line)]
    assert [line["step"] for line in records] == [5, 10]  # of 12 steps
    for line in records:
        expected = witness.lambdas[line.pop("step") - 1]
        names = ["spem_lambda/layer1.0", "spem_lambda/layer1.1"]
        assert line == pytest.approx(dict(zip(names, expected, strict=True)))
        assert abs(expected[0] - 0.5) > 1e-3
    logged = {line["step"]: line["spem_penalty"] for line in lines if "loss" in line}
    assert sorted(logged) == [2, 4, 6, 8, 10, 12]
    for step, value in logged.items():
        assert value == pytest.approx(witness.penalties[step - 1])
    (log,) = tmp_path.glob("*/*.log")
    text = log.read_text()
    assert f"spem_penalty: {witness.penalties[11]:.4f}" in text
    assert "spem_lambda" not in text


def test_hook_needs_a_layer(tmp_path):
    runner = make_runner(
        tmp_path, Network(()), custom_hooks=[dict(type="attnpool_mm.SPEMLoggerHook")]
    )
    before = copy.deepcopy(runner.model.state_dict())
    with pytest.raises(ConfigError, match="custom_hooks SPEMLoggerHook: "):
        runner.train()
    assert all((v == before[k]).all() for k, v in runner.model.state_dict().items())
    with pytest.raises(ConfigError, match="interval=0"):
        make_runner(
            tmp_path,
            custom_hooks=[dict(type="attnpool_mm.SPEMLoggerHook", interval=0)],
        )


class Subclass(SPEMOptimWrapperConstructor):
    pass


def optimizer_of(model, decay):
    groups = [dict(params=[p]) for p in model.parameters()]
    p = [layer.p for layer in model.attentions()]
    for group in groups:
        group["weight_decay"] = decay if any(group["params"][0] is q for q in p) else 0
    return OptimWrapper(torch.optim.SGD(groups, lr=0.1))


@pytest.mark.parametrize("warned, alphas, wrapper", [
    (True, (0.1, 0.0), dict(optimizer=SGD)),
    (True, (0.1, 0.1), dict(optimizer=SGD, constructor="NotThere")),
    (True, (0.1, 0.3), lambda model: optimizer_of(model, 0.2)),
    (False, (0.1, 0.1), lambda model: optimizer_of(model, 0.2)),
    (False, (0.1, 0.1), dict(optimizer=SGD, constructor=CONSTRUCTOR)),
    (False, (0.1, 0.1), dict(optimizer=SGD, constructor=Subclass)),
    (False, (0.0, 0.0), dict(optimizer=SGD)),
])  # fmt: skip
def test_a_training_without_the_penalty_is_noticed(tmp_path, warned, alphas, wrapper):
    model = Network(alphas)
    runner = make_runner(
        tmp_path, model, wrapper(model) if callable(wrapper) else wrapper
    )
    runner_checks.check_spem(runner)
    (log,) = tmp_path.glob("*/*.log")
    lines = [line for line in log.read_text().splitlines() if "SPEM layers" in line]
    assert len(lines) == warned
    if warned:
        assert "WARNING" in lines[0]
        assert f"optim_wrapper=dict(constructor='{CONSTRUCTOR}')" in lines[0]
