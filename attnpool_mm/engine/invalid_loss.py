"""A training whose loss is no number any more stops, before it overwrites anything."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS
from ..utils.checks import check_int
from ..utils.config import type_name
from ..utils.errors import ConfigError

ADVICE = (
    "to try: a smaller optim_wrapper.optimizer.lr, a longer warm-up in "
    "param_scheduler, optim_wrapper.clip_grad=dict(max_norm=10), training without "
    "--amp, or a look at the data with train.py --check-data"
)

RUNNING = ("running_mean", "running_var")


@HOOKS.register_module()
class StopOnInvalidLossHook(Hook):
    """Stops a training whose loss stays NaN or infinite, before a checkpoint is saved.

    The losses are counted on the device; only every `interval` iterations, and at the
    end of an epoch, the count is read, which waits for the device. The gradients are
    not looked at: mixed precision's loss scaling makes them overflow now and then.

    A checkpoint whose parameters, or norms' running means and variances, are not finite
    is never written, so that the last good one stays. `tools/train.py` adds the hook,
    as `default_hooks.invalid_loss`.

    Args:
        patience (int): Invalid losses in a row that stop the run. Default: 5.
        interval (int): Iterations between two looks. Default: 10.

    Raises:
        ConfigError: An argument is not an integer of at least 1; in the training, the
            loss was invalid `patience` times in a row, or the model is.

    Example:
        >>> hook = StopOnInvalidLossHook(patience=3, interval=10)
    """

    priority = "BELOW_NORMAL"  # before the checkpoints are saved

    def __init__(self, patience: int = 5, interval: int = 10):
        self.patience = check_int("patience", patience)
        self.interval = check_int("interval", interval)
        self._iteration = 0
        self._streak = torch.zeros((), dtype=torch.long)  # up to now
        self._longest = torch.zeros((), dtype=torch.long)  # since the last look

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Count the loss of an iteration."""
        self._iteration = runner.iter + 1
        loss = (outputs or {}).get("loss")
        if loss is None:
            return
        loss = torch.as_tensor(loss).detach()
        invalid = (~loss.isfinite()).any().long()
        self._streak = (self._streak.to(loss.device) + 1) * invalid
        self._longest = torch.maximum(self._longest.to(loss.device), self._streak)
        if self.every_n_train_iters(runner, self.interval):
            self._look(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Look at the count, and at the model if any loss was invalid."""
        if self._look(runner):
            self._check_model(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse to write a model that is not finite."""
        self._check_model(runner)

    def _look(self, runner: Runner) -> int:
        """The most invalid losses in a row since the last look, on any device."""
        longest = self._longest.clone()
        all_reduce(longest, "max")
        count = int(longest)
        self._longest = self._streak.clone()
        if count >= self.patience:
            raise self._error(runner, f"the loss is NaN or infinite, {count} times")
        return count

    def _check_model(self, runner: Runner) -> None:
        model = runner.model
        values = {n: p for n, p in model.named_parameters() if p.requires_grad}
        # An overflow of mixed precision, whose step is skipped, stays in these for ever
        values |= {n: b for n, b in model.named_buffers() if n.endswith(RUNNING)}
        bad = [name for name, v in values.items() if not bool(v.isfinite().all())]
        if bad:
            what = f"{len(bad)} parameters or statistics are NaN or infinite, such as "
            raise self._error(runner, what + bad[0])

    def _error(self, runner: Runner, what: str) -> ConfigError:
        pointer = Path(runner.work_dir, "last_checkpoint")
        last = "there is no checkpoint yet"
        if pointer.is_file():
            last = f"the last checkpoint is {pointer.read_text().strip()}"
        return ConfigError(
            f"training stopped at iteration {self._iteration}: {what}; {ADVICE}; {last}"
        )


def add_invalid_loss_hook(cfg: Config) -> None:
    """Add the hook to a config's default hooks, unless one of its kind is there.

    None stays, which switches the hook off.
    """
    if cfg.get("default_hooks") is None:
        cfg.default_hooks = {}
    custom = cfg.get("custom_hooks") or []
    kinds = {type_name(hook) for hook in custom}
    if kinds & {StopOnInvalidLossHook.__name__, "CheckInvalidLossHook"}:
        return
    hook = {"type": "attnpool_mm.StopOnInvalidLossHook"}
    cfg.default_hooks.setdefault("invalid_loss", hook)
