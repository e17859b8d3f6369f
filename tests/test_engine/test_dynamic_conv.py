"""The temperature's hook in MMEngine's own runner."""

import itertools
import json

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import Runner
from torch import nn

from attnpool_mm.engine.dynamic_conv import DynamicConvTemperatureHook
from attnpool_mm.layers import DynamicConv2d
from attnpool_mm.utils.errors import ConfigError

PER_EPOCH = 3  # iterations
HOOK = dict(type="attnpool_mm.DynamicConvTemperatureHook", start=10, step=4, end=1)
EMA = dict(type="EMAHook", momentum=0.5)
RUN = itertools.count()  # MMEngine tells runners apart by their names


class Network(BaseModel):
    """Two convolutions that note the temperature of each forward pass."""

    def __init__(self, conv=DynamicConv2d):
        super().__init__()
        self.convs = nn.Sequential(conv(3, 8, 3), nn.Sequential(conv(8, 2, 3)))
        self.seen = {"loss": [], "predict": []}

    def forward(self, inputs, data_samples=None, mode="tensor"):
        if mode in self.seen and isinstance(self.convs[0], DynamicConv2d):
            both = {self.convs[0].temperature.item(),
                    self.convs[1][0].temperature.item()}  # fmt: skip
            self.seen[mode].append(*both)
        score = self.convs(torch.stack(inputs)).mean((2, 3))
        if mode == "loss":
            return dict(loss=score.square().mean())
        return list(score)


class Count(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(len(data_samples))

    def compute_metrics(self, results):
        return dict(count=sum(results))


def loader(**sampler):
    data = [dict(inputs=image) for image in torch.rand(2 * PER_EPOCH, 3, 7, 7)]
    sampler = {"type": "DefaultSampler", "shuffle": False, **sampler}
    return dict(batch_size=2, dataset=data, sampler=sampler, collate_fn=pseudo_collate)


def make_runner(work_dir, epochs, model=None, hook=HOOK, hooks=(), **kwargs):
    return Runner(
        **{
            "model": model or Network(),
            "work_dir": str(work_dir),
            "train_dataloader": loader(),
            "train_cfg": dict(by_epoch=True, max_epochs=epochs, val_interval=1),
            "val_dataloader": loader(),
            "val_cfg": dict(),
            "val_evaluator": [Count()],
            "test_dataloader": loader(),
            "test_cfg": dict(),
            "test_evaluator": [Count()],
            "optim_wrapper": dict(optimizer=dict(type="SGD", lr=0.01)),
            "default_hooks": dict(
                checkpoint=dict(type="CheckpointHook", interval=1),
                logger=dict(type="LoggerHook", interval=1),
            ),
            "custom_hooks": [hook, *hooks],
            "visualizer": dict(
                type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]
            ),
            "experiment_name": f"temperature_{next(RUN)}",
            **kwargs,
        }
    )


def saved_temperatures(path, key="state_dict"):
    state = torch.load(path, weights_only=False)[key]
    return {v.item() for name, v in state.items() if name.endswith("temperature")}


def repeat(*values):
    return [value for value in values for _ in range(PER_EPOCH)]


def test_the_schedule():
    hook = DynamicConvTemperatureHook()
    expected = [34, 31, 28, 25, 22, 19, 16, 13, 10, 7, 4, 1, 1, 1]
    assert [hook.temperature(epoch) for epoch in range(14)] == expected
    constant = DynamicConvTemperatureHook(start=2, step=0)
    assert [constant.temperature(epoch) for epoch in (0, 9)] == [2, 2]


def test_every_epoch_has_its_temperature(tmp_path):
    runner = make_runner(tmp_path, 4)
    model = runner.train()
    assert model.seen["loss"] == repeat(10, 6, 2, 1)
    assert model.seen["predict"] == repeat(10, 6, 2, 1)  # validation after the epoch
    for epoch, temperature in enumerate((10, 6, 2, 1), start=1):
        path = tmp_path / f"epoch_{epoch}.pth"
        assert saved_temperatures(path) == {temperature}
    (log,) = tmp_path.glob("*/vis_data/scalars.json")
    lines = map(json.loads, log.read_text().splitlines())
    logged = [line["temperature"] for line in lines if "temperature" in line]
    assert logged == repeat(10, 6, 2, 1)


def test_a_resumed_training_goes_on_with_its_temperature(tmp_path):
    make_runner(tmp_path, 2, hooks=[EMA]).train()
    model = make_runner(tmp_path, 4, hooks=[EMA], resume=True).train()
    assert model.seen["loss"] == repeat(2, 1)
    assert saved_temperatures(tmp_path / "epoch_3.pth") == {2}


def test_a_test_uses_the_checkpoints_temperature(tmp_path):
    make_runner(tmp_path, 2).train()
    path = str(tmp_path / "epoch_2.pth")
    runner = make_runner(tmp_path, 1, load_from=path)
    assert runner.test() == {"count": 2 * PER_EPOCH}
    assert runner.model.seen["predict"] == repeat(6)
    # A new training from its weights starts from the beginning.
    model = make_runner(tmp_path, 1, load_from=path).train()
    assert model.seen["loss"] == repeat(10)


@pytest.mark.parametrize("update_buffers", [False, True])
def test_the_averaged_model_has_the_same_temperature(update_buffers, tmp_path):
    hooks = [dict(EMA, update_buffers=update_buffers)]
    model = make_runner(tmp_path, 3, hooks=hooks).train()
    assert model.seen["loss"] == model.seen["predict"] == repeat(10, 6, 2)
    for epoch, temperature in enumerate((10, 6, 2), start=1):
        path = tmp_path / f"epoch_{epoch}.pth"
        assert saved_temperatures(path) == {temperature}
        assert saved_temperatures(path, "ema_state_dict") == {temperature}


def test_iterations_are_counted_in_epochs(tmp_path):
    by_iter = dict(
        train_dataloader=loader(type="InfiniteSampler"),
        default_hooks=dict(
            checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=5)
        ),
        log_processor=dict(by_epoch=False),
    )
    # The fifth iteration is in the second epoch of three.
    train_cfg = dict(by_epoch=False, max_iters=5, val_interval=1000)
    model = make_runner(tmp_path, 1, train_cfg=train_cfg, **by_iter).train()
    assert model.seen["loss"] == [10, 10, 10, 6, 6]
    train_cfg["max_iters"] = 10
    model = make_runner(tmp_path, 2, train_cfg=train_cfg, resume=True, **by_iter)
    assert model.train().seen["loss"] == [6, 2, 2, 2, 1]


def test_inside_a_model_wrapper(tmp_path):
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def train_step(self, *args, **kwargs):
            return self.module.train_step(*args, **kwargs)

    MODEL_WRAPPERS.register_module(module=Wrapper)
    try:
        runner = make_runner(tmp_path, 2, val_cfg=None, val_dataloader=None,
                             val_evaluator=None)  # fmt: skip
        runner.model = Wrapper(runner.model)
        runner.train()
    finally:
        del MODEL_WRAPPERS.module_dict["Wrapper"]
    assert runner.model.module.seen["loss"] == repeat(10, 6)


def test_a_model_without_dynamic_convolution(tmp_path):
    runner = make_runner(tmp_path, 1, model=Network(nn.Conv2d))
    with pytest.raises(ConfigError, match="DynamicConvTemperatureHook: "):
        runner.train()
    assert runner.iter == 0
    runner.test()  # whose config has the hook too


@pytest.mark.parametrize("kwargs, message", [
    (dict(start=0.5), "end=1 with start=0.5"),
    (dict(end=0), "end=0 with start=34"),
    (dict(step=-1), "step=-1"),
    (dict(step="3"), "step='3'"),
    (dict(start=None), "start=None"),
    (dict(start=float("inf")), "start=inf"),
    (dict(end=True), "end=True"),
    (dict(step=True), "step=True"),
], ids=str)  # fmt: skip
def test_bad_arguments(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        DynamicConvTemperatureHook(**kwargs)
