"""The temperature of dynamic convolutions, lowered while training."""

from collections.abc import Iterator, Sequence

from mmengine.hooks import EMAHook, Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

from ..layers import DynamicConv2d
from ..registry import HOOKS
from ..utils.checks import check_number
from ..utils.errors import ConfigError


@HOOKS.register_module()
class DynamicConvTemperatureHook(Hook):
    """Lower the temperature of every `DynamicConv2d`, T = max(end, start − step·epoch).

    The epoch is the runner's, counted from 0, so that a resumed training goes on
    with its T. `IterBasedTrainLoop` takes the whole training for one epoch; there an
    epoch is len(train_dataloader) iterations. (MMEngine's `InfiniteSampler` gives
    each GPU's loader the length of the whole data set: on N GPUs such an epoch sees
    the data N times.) The averaged model of an `EMAHook` has the same T.

    T is a buffer of the layers: a checkpoint carries it, and a test uses that of the
    epoch in which the checkpoint was written. The log has it as `temperature`.

    Args:
        start (float): T of the first epoch. Default: 34.
        step (float): What T falls by after each epoch. Default: 3.
        end (float): T that it does not fall below. Default: 1.

    Raises:
        ConfigError: One is no finite number, not 0 < end ≤ start, or `step` is
            negative; before training, if the model has no dynamic convolution.

    Source:
        "Dynamic Convolution: Attention over Convolution Kernels", CVPR 2020, arXiv
        1912.03458.

    Example:
        >>> hook = DynamicConvTemperatureHook()
        >>> [hook.temperature(epoch) for epoch in (0, 1, 10, 11, 12)]
        [34, 31, 4, 1, 1]
    """

    def __init__(self, start: float = 34, step: float = 3, end: float = 1):
        check_number("start", start)
        check_number("step", step, minimum=0)
        check_number("end", end)
        if not 0 < end <= start:
            raise ConfigError(
                f"end={end!r} with start={start!r}: 0 < end <= start is accepted"
            )
        self.start = start
        self.step = step
        self.end = end

    def temperature(self, epoch: int) -> float:
        """T of an epoch, counted from 0."""
        return max(self.end, self.start - self.step * epoch)

    def before_train(self, runner: Runner) -> None:
        """Find the dynamic convolutions of the model.

        Raises:
            ConfigError: There is none.
        """
        self._layers = [
            layer
            for model in _models(runner)
            for layer in model.modules()
            if isinstance(layer, DynamicConv2d)
        ]
        self._current = None
        if not self._layers:
            raise ConfigError(
                "DynamicConvTemperatureHook: the model has no DynamicConv2d; give it "
                "one with conv_cfg=dict(type='attnpool_mm.DynamicConv2d'), or leave "
                "the hook out"
            )

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Sequence | None = None
    ) -> None:
        """Set and log the temperature of the epoch."""
        temperature = self.temperature(_epoch(runner))
        if temperature != self._current:
            for layer in self._layers:
                layer.temperature.fill_(temperature)
            self._current = temperature
        runner.message_hub.update_scalar("train/temperature", temperature)


def _models(runner: Runner) -> Iterator[nn.Module]:
    """The model that is trained and what is averaged from it."""
    yield runner.model
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            yield hook.ema_model


def _epoch(runner: Runner) -> int:
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        return runner.iter // len(runner.train_dataloader)
    return runner.epoch
