"""A training whose loss is no number any more stops, and keeps its last checkpoint."""

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from attnpool_mm.engine.invalid_loss import (
    StopOnInvalidLossHook,
    add_invalid_loss_hook,
)
from attnpool_mm.utils.errors import ConfigError


class Line(BaseModel):
    """A loss of one parameter; its values come with the data."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, factor, mode="loss"):
        return dict(loss=(self.weight * factor.sum()))


class SkipsInvalidSteps(Hook):
    """What loss scaling does: a step of gradients that overflow changes nothing."""

    priority = "VERY_HIGH"

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.before = runner.model.weight.detach().clone()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if not outputs["loss"].isfinite():
            runner.model.weight.data.copy_(self.before)


@pytest.fixture
def train(tmp_path):
    """Train on factors; return the runner."""

    def train(factors, hook=None, hooks=(), epochs=1, **checkpoints):
        cfg = Config(dict(default_hooks=dict(
            checkpoint=dict(type="CheckpointHook", **checkpoints))))  # fmt: skip
        add_invalid_loss_hook(cfg)
        cfg.default_hooks.invalid_loss.update(hook or {})
        runner = Runner(
            model=Line(),
            work_dir=str(tmp_path),
            train_dataloader=dict(
                dataset=[dict(factor=torch.tensor(f)) for f in factors],
                sampler=dict(type="DefaultSampler", shuffle=False),
                batch_size=1,
                collate_fn=dict(type="default_collate"),
            ),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            default_hooks=cfg.default_hooks,
            custom_hooks=list(hooks),
            log_level="ERROR",
            experiment_name=str(tmp_path),
        )
        runner.train()
        return runner

    return train


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_it_stops_within_an_interval(train, tmp_path, value):
    options = dict(patience=3, interval=4)
    with pytest.raises(ConfigError, match="iteration 8: .* 4 times") as caught:
        train([0.5] * 4 + [value] * 90, options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.pth"))


def test_a_few_that_change_nothing_are_let_pass(train, tmp_path):
    factors = ([INF, INF, 0.5] * 10)[:-1]
    options = dict(patience=3, interval=4)
    runner = train(factors, options, [SkipsInvalidSteps()])
    assert runner.iter == len(factors)
    assert runner.model.weight.item() == pytest.approx(1 - 9 * 0.05)
    assert (tmp_path / "epoch_1.pth").is_file()
    with pytest.raises(ConfigError, match="2 times"):
        train(factors, dict(options, patience=2), [SkipsInvalidSteps()])


def test_the_last_good_checkpoint_is_kept(train, tmp_path):
    """One is kept, and the parameters break in the second epoch."""

    class Breaks(Hook):
        def before_train_epoch(self, runner):
            if runner.epoch == 1:
                runner.model.weight.data.fill_(NAN)

    with pytest.raises(ConfigError, match="weight.*epoch_1.pth") as caught:
        train(
            [0.5, 0.5],
            dict(patience=50),
            [Breaks()],
            epochs=3,
            interval=1,
            max_keep_ckpts=1,
        )
    assert "\n" not in str(caught.value)
    saved = torch.load(tmp_path / "epoch_1.pth", weights_only=False)
    assert saved["state_dict"]["weight"].isfinite()
    assert [path.name for path in tmp_path.glob("*.pth")] == ["epoch_1.pth"]


def test_broken_statistics_are_no_good_checkpoint(train, tmp_path):
    """An overflow in mixed precision, whose step is skipped, stays in a norm's."""

    class Overflows(Hook):
        def before_train_epoch(self, runner):
            if runner.epoch == 0:
                runner.model.norm = nn.BatchNorm1d(2)
            if runner.epoch == 1:
                runner.model.norm(torch.tensor([[INF, 0.0], [1.0, 2.0]]))

    with pytest.raises(ConfigError, match="norm.running_mean.*epoch_1.pth"):
        train([0.5, 0.5], None, [Overflows()], epochs=3, interval=1)
    assert [path.name for path in tmp_path.glob("*.pth")] == ["epoch_1.pth"]


def test_no_broken_checkpoint_between_two_looks(train, tmp_path):
    """Checkpoints of iterations, which come before the hook looks."""
    with pytest.raises(ConfigError, match="weight.*iter_2.pth"):
        train([0.5, 0.5, NAN, 0.5, 0.5], by_epoch=False, interval=2)
    assert [path.name for path in tmp_path.glob("*.pth")] == ["iter_2.pth"]


@pytest.mark.parametrize("name", ["patience", "interval"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "3", True])
def test_arguments(name, value):
    with pytest.raises(ConfigError, match=f"{name}={value!r}"):
        StopOnInvalidLossHook(**{name: value})


def test_the_tools_add_it_unless_there_is_one():
    cfg = Config(dict(default_scope="mmdet"))
    add_invalid_loss_hook(cfg)
    built = HOOKS.build(cfg.default_hooks.invalid_loss)
    assert isinstance(built, StopOnInvalidLossHook)
    cfg.merge_from_dict({"default_hooks.invalid_loss.patience": 9})
    assert HOOKS.build(cfg.default_hooks.invalid_loss).patience == 9
    for given in (
        dict(custom_hooks=[dict(type="mmdet.CheckInvalidLossHook")]),
        dict(custom_hooks=[dict(type=StopOnInvalidLossHook)]),
        dict(default_hooks=dict(invalid_loss=None)),
    ):
        cfg = Config(given)
        add_invalid_loss_hook(cfg)
        assert cfg.default_hooks.get("invalid_loss") is None
