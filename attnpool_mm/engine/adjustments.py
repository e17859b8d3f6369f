"""What the tools change in a config: options of the command line, and defaults."""

import torch
from mmengine.config import Config
from mmengine.device import get_device

from ..utils.config import type_name
from ..utils.errors import ConfigError
from .places import HOOK_NAMES


def use_amp(cfg: Config) -> None:
    """Train in mixed precision."""
    if cfg.get("optim_wrapper") is None:
        raise ConfigError("--amp: the config has no optim_wrapper")
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.setdefault("loss_scale", "dynamic")


def use_test_amp(cfg: Config) -> None:
    """Test in mixed precision.

    Raises:
        ConfigError: If the config does not say how it is tested.
    """
    if not isinstance(cfg.get("test_cfg"), dict):
        raise ConfigError("--amp: the config has no test_cfg; a dict is accepted")
    cfg.test_cfg.fp16 = True


def adapt_to_device(cfg: Config) -> None:
    """Replace mixed precision for GPUs by its CPU counterpart on a CPU.

    Raises:
        ConfigError: If the model cannot train in mixed precision there.
    """
    wrapper = cfg.get("optim_wrapper") or {}
    if get_device() == "cpu" and type_name(wrapper) == "AmpOptimWrapper":
        if "rpn_head" in cfg.get("model", {}):
            raise ConfigError(
                f"--amp: {type_name(cfg.model)} picks its proposals with MMCV's NMS, "
                "which has no bfloat16 on the CPU; leave --amp out there"
            )
        wrapper.type = "attnpool_mm.CPUAmpOptimWrapper"
        for gpu_only in ("loss_scale", "dtype", "use_fsdp"):
            wrapper.pop(gpu_only, None)


def enable_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate with the batch size.

    Raises:
        ConfigError: If the config does not say for which batch size its rate is.
    """
    scale = cfg.get("auto_scale_lr") or {}
    if scale.get("base_batch_size") is None:
        raise ConfigError(
            "--auto-scale-lr: the config has no auto_scale_lr.base_batch_size, the "
            "batch size that its learning rate is for"
        )
    scale.enable = True


def set_dataloader_defaults(cfg: Config) -> None:
    """Fill in what MMPretrain's configs leave to its tools.

    Of a loader without worker processes `persistent_workers` is switched off, in a
    config of either framework: PyTorch rejects the combination.
    """
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loader = cfg.get(name)
        if loader is None:
            continue
        if cfg.default_scope == "mmpretrain":
            loader.setdefault("pin_memory", torch.cuda.is_available())
            loader.setdefault("persistent_workers", True)
            loader.setdefault("collate_fn", {"type": "default_collate"})
        if not loader.get("num_workers"):
            loader.pop("persistent_workers", None)


def drop_disabled_hooks(cfg: Config) -> None:
    """Take out the default hooks that are None, which switches them off.

    MMEngine understands None of its own alone, not of MMPretrain's `visualization`.
    """
    hooks = cfg.get("default_hooks") or {}
    for name in [n for n, h in hooks.items() if h is None and n not in HOOK_NAMES]:
        del hooks[name]


def use_resumable_training(cfg: Config) -> None:
    """Train so that a kill or a signal loses no more than it must.

    Where the config means MMEngine's `CheckpointHook` and `EpochBasedTrainLoop`, take
    `AtomicCheckpointHook` and `ResumableEpochLoop`. Classes of one's own stay.
    """
    runners_own = {"checkpoint": {"type": "CheckpointHook", "interval": 1}}
    cfg.default_hooks = {**runners_own, **(cfg.get("default_hooks") or {})}
    hooks = (*cfg.default_hooks.values(), *(cfg.get("custom_hooks") or []))
    for hook in hooks:
        if type_name(hook) == "CheckpointHook":
            hook["type"] = "attnpool_mm.AtomicCheckpointHook"
    loop = cfg.get("train_cfg") or {}
    kind = type_name(loop)
    if kind == "EpochBasedTrainLoop" or (not kind and loop.get("by_epoch")):
        loop.pop("by_epoch", None)
        loop["type"] = "attnpool_mm.ResumableEpochLoop"
