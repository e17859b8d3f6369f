"""Times of training steps of several configs' networks."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from statistics import median

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope, init_default_scope
from mmengine.runner import Runner
from torch import nn

from ..analysis.timing import take_turns
from ..utils.config import type_name
from . import adjustments


def time_steps(configs: Mapping[str, Config], rounds: int) -> dict[str, float]:
    """The median seconds of a training step of each network, measured in turns.

    A step is what `tools/train.py` does with a batch that is loaded: preprocessing,
    forward, backward, and the optimizer's step, with the channels last in memory if the
    config has a `ChannelsLastHook`. Every network gets the first batch of
    its own training data, again and again. What else the machine does meets all of them
    alike: only ratios within one call mean something.

    Args:
        configs (Mapping[str, Config]): Name → whole config, all of one scope.
        rounds (int): Steps of each that count.
    """
    device = torch.device(get_device())
    steps = {name: _step(cfg, device) for name, cfg in configs.items()}
    times = take_turns(steps, rounds, device)
    return {name: median(seconds) for name, seconds in times.items()}


@contextmanager
def _without_infos() -> Iterator[None]:
    """Keep MMEngine from listing how every weight was initialized."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _step(cfg: Config, device: torch.device) -> Callable[[], None]:
    cfg = deepcopy(cfg)
    adjustments.adapt_to_device(cfg)
    adjustments.set_dataloader_defaults(cfg)
    init_default_scope(cfg.default_scope)
    part = cfg.model
    if cfg.get("data_preprocessor") is not None:
        part.setdefault("data_preprocessor", cfg.data_preprocessor)
    model: nn.Module = MODELS.build(part)
    with _without_infos():
        model.init_weights()
    model.to(device).train()
    hooks = [
        *(cfg.get("default_hooks") or {}).values(),
        *(cfg.get("custom_hooks") or ()),
    ]
    if any(type_name(hook) == "ChannelsLastHook" for hook in hooks):
        model.to(memory_format=torch.channels_last)
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    loader = {**cfg.train_dataloader, "num_workers": 0, "persistent_workers": False}
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        batch = next(iter(Runner.build_dataloader(loader, seed=0)))

    def step() -> None:
        model.train_step(deepcopy(batch), optim_wrapper)

    return step
