"""The memory format that convolutions on small maps are fastest in."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep a model's weights, and so its maps, with the channels last in memory.

    Results are the same up to rounding. How much faster a network becomes, if at all,
    depends on the network and on the machine: docs/launching.md has some numbers.

    Several processes: PyTorch's DDP, which has seen the weights before, says once that
    the strides of gradients do not match its buckets, and copies them.

    Example:
        >>> default_hooks = dict(
        ...     channels_last=dict(type='attnpool_mm.ChannelsLastHook'))
    """

    def before_run(self, runner: Runner) -> None:
        """Change the weights' format, in place."""
        runner.model.to(memory_format=torch.channels_last)
