"""A run whose checkpoint is not of it ends in one line before it trains."""

import itertools
from copy import deepcopy

import pytest
import torch
from crafted_checkpoints import Traps, craft
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from attnpool_mm.checkpoint import load_checkpoint_file, use_safe_loading
from attnpool_mm.engine.checkpoint_fit import CheckpointFitHook
from attnpool_mm.engine.resuming import RUNNING, _equal
from attnpool_mm.utils.errors import ConfigError

NUMBERS = itertools.count()  # MMEngine keeps what a run of a name has logged


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)

    def forward(self, inputs, mode="tensor"):
        return {"loss": self.second(self.first(inputs)).square().mean()}


HALVING = {"type": "StepLR", "step_size": 1, "gamma": 0.5}


def make_runner(
    work_dir,
    optimizer="SGD",
    lr=0.1,
    schedules=(HALVING,),
    batch_size=2,
    epochs=2,
    **settings,
):
    momentum = {"momentum": 0.9} if optimizer == "SGD" else {}
    runner = Runner(
        Model(),
        str(work_dir),
        train_dataloader=DataLoader([{"inputs": torch.ones(2)}] * 4, batch_size),
        train_cfg={"by_epoch": True, "max_epochs": epochs},
        optim_wrapper={"optimizer": {"type": optimizer, "lr": lr, **momentum}},
        param_scheduler=[dict(schedule) for schedule in schedules],
        default_scope="mmengine",
        experiment_name=f"fit{next(NUMBERS)}",
        **settings,
    )
    runner.register_hook(CheckpointFitHook(partial=True))
    return runner


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The checkpoint after the first of two epochs, by optimizer."""
    made = {}
    for optimizer in ("SGD", "Adam"):
        folder = tmp_path_factory.mktemp(optimizer)
        make_runner(folder, optimizer).train()
        made[optimizer] = load_checkpoint_file(folder / "epoch_1.pth")
    return made


@pytest.fixture
def traps(tmp_path, tools_undone):
    use_safe_loading(work_dir=tmp_path / "work_dir")
    return Traps(tmp_path, tmp_path / "work_dir")


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("optimizer empty", "optimizer"),
        ("optimizer without groups", "optimizer"),
        ("learning rate a text", "lr='fast'"),
        ("momentum of another shape", r"momentum_buffer of \(3, 3\).*\(3, 2\)"),
        ("momentum a text", "momentum_buffer"),
        ("scheduler's method a number", "'step'=1"),
        ("schedulers a text", "param_schedulers is a str"),
        ("epoch a text", "meta.epoch='1'"),
        ("epoch negative", "meta.epoch=-3"),
        ("seed a text", "meta.seed='x'"),
        ("no meta", "it has no meta"),
        ("weights of another network", "4 are not in it, such as first.weight"),
        ("weights of other shapes", "4 have another shape, such as first.weight"),
    ],
)
def test_a_resume_that_does_not_fit(case, words, base, traps):
    path = craft(case, base["SGD"], traps)
    runner = make_runner(traps.work_dir, load_from=str(path), resume=True)
    with pytest.raises(ConfigError, match=words) as caught:
        runner.train()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert "--partial" not in str(caught.value)  # `train.py` has no such option
    assert not list(traps.work_dir.glob("epoch_*"))


def test_the_state_of_another_optimizer(base, traps):
    traps.lay()
    path = traps.folder / "a.pth"
    torch.save(base["SGD"], path)
    runner = make_runner(traps.work_dir, "Adam", load_from=str(path), resume=True)
    with pytest.raises(ConfigError, match="optimizer"):
        runner.train()


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_resume_that_fits_goes_on(base, traps, optimizer):
    traps.lay()
    path = traps.folder / "a.pth"
    torch.save(base[optimizer], path)
    runner = make_runner(traps.work_dir, optimizer, load_from=str(path), resume=True)
    runner.train()
    assert runner.epoch == 2


BY_ITERATION = {
    "type": "CosineAnnealingLR",
    "T_max": 2,
    "convert_to_iter_based": True,
}


@pytest.mark.parametrize(
    ("first", "then", "match"),
    [
        ({}, {"schedules": [{**HALVING, "gamma": 0.1}]}, "gamma=0.5, .*0.1"),
        ({}, {"lr": 0.2}, r"learning rates \[0.1\], .*\[0.2\]"),
        ({"schedules": []}, {"schedules": [], "lr": 0.2}, "learning rates"),
        ({"schedules": []}, {}, "0 param_schedulers"),
        ({}, {"schedules": [HALVING, HALVING]}, "1 param_schedulers.* 2"),
        (
            {"schedules": [BY_ITERATION]},
            {"schedules": [BY_ITERATION], "batch_size": 1},
            "(T_max|end)=.*batch_size",
        ),
        ({"schedules": [BY_ITERATION]}, {"schedules": [BY_ITERATION]}, None),
        ({}, {"batch_size": 1}, None),  # the schedule is by epochs
    ],
)
def test_a_training_goes_on_with_its_own_schedule_alone(tmp_path, first, then, match):
    make_runner(tmp_path / "first", **first).train()
    path = str(tmp_path / "first/epoch_1.pth")
    runner = make_runner(tmp_path / "then", load_from=path, resume=True, **then)
    if match is None:
        runner.train()
        return
    with pytest.raises(ConfigError, match=match):
        runner.train()


class Rates(Hook):
    """Notes the learning rate of each epoch."""

    def __init__(self):
        self.found = {}

    def before_train_epoch(self, runner):
        self.found[runner.epoch] = runner.optim_wrapper.get_lr()["lr"][0]


def rates_of(runner):
    rates = Rates()
    runner.register_hook(rates)
    runner.train()
    return rates.found


@pytest.mark.parametrize("saved", [1, 2])
@pytest.mark.parametrize(
    "schedule",
    [
        {"type": "MultiStepLR", "milestones": [1, 3, 4], "gamma": 0.1},
        {**HALVING, "end": 4},
    ],
    ids=str,
)
def test_a_longer_training_has_the_rates_of_one_from_the_start(
    tmp_path, schedule, saved
):
    kwargs = dict(schedules=[schedule])
    make_runner(tmp_path / "first", **kwargs).train()
    path, kwargs["epochs"] = str(tmp_path / f"first/epoch_{saved}.pth"), 6
    longer = make_runner(tmp_path / "longer", load_from=path, resume=True, **kwargs)
    expected = rates_of(make_runner(tmp_path / "whole", **kwargs))
    assert rates_of(longer) == pytest.approx({e: expected[e] for e in range(saved, 6)})


SCHEDULES = {
    "ConstantLR": dict(end=4),
    "CosineAnnealingLR": dict(T_max=5),
    "CosineRestartLR": dict(periods=[4, 6], restart_weights=[1, 0.5], eta_min=0),
    "ExponentialLR": dict(gamma=0.9),
    "LinearLR": dict(end=4),
    "MultiStepLR": dict(milestones=[2, 4]),
    "OneCycleLR": dict(eta_max=0.5, total_steps=10, end=10),
    "PolyLR": dict(end=5),
    "ReduceOnPlateauLR": dict(monitor="acc", patience=1),
    "StepLR": dict(step_size=2),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_no_schedule_changes_its_settings(kind):
    optimizer = torch.optim.SGD(Model().parameters(), lr=0.1)
    cfg = dict(type=kind, optimizer=optimizer, **SCHEDULES[kind])
    schedule = PARAM_SCHEDULERS.build(cfg)
    before = deepcopy(schedule.state_dict())
    for value in (1.0, 0.9, 0.8, 0.7):
        optimizer.step()
        schedule.step(*([{"acc": value}] if "Plateau" in kind else []))
    after = schedule.state_dict()
    changed = {k for k, v in after.items() if not _equal(v, before.get(k))}
    assert "last_step" in changed and changed <= RUNNING


def test_iterations_past_the_end(base, traps):
    traps.lay()
    path = traps.folder / "a.pth"
    meta = dict(base["SGD"]["meta"], iter=10**12)  # MMEngine would read data for days
    torch.save(dict(base["SGD"], meta=meta), path)
    runner = make_runner(traps.work_dir, load_from=str(path), resume=True)
    runner.cfg.train_cfg = dict(by_epoch=False, max_iters=100)
    with pytest.raises(ConfigError, match=r"meta.iter=1000000000000.*max_iters=100"):
        runner.train()


def test_training_starts_from_what_fits(base, traps):
    traps.lay()
    path = traps.folder / "a.pth"
    weights = dict(base["SGD"]["state_dict"])
    weights["second.weight"] = torch.ones(5, 5)  # another head
    torch.save({"state_dict": weights}, path)
    make_runner(traps.work_dir, load_from=str(path)).train()
    assert (traps.work_dir / "epoch_2.pth").exists()


def test_training_does_not_start_from_another_network(base, traps):
    path = craft("weights of another network", base["SGD"], traps)
    with pytest.raises(ConfigError, match="4 are not in it"):
        make_runner(traps.work_dir, load_from=str(path)).train()
