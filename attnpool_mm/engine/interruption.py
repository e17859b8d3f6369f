"""Ending a training on SIGTERM or SIGINT so that it can go on."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from .checkpointing import AtomicCheckpointHook
from .epoch_loop import PLACE, ResumableEpochLoop, take_up_place

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Seconds in which torchrun passes on what its processes have got themselves: from a
# terminal, from Slurm
FORWARDED = 3


class Interrupted(SystemExit):
    """A signal ends this process, with the exit status that shells give it.

    Args:
        signum (int): The signal's number.
        message (str): One line on what is kept.
    """

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(128 + signum)
        self.message = f"stopped by {signal.Signals(signum).name}: {message}"


class SignalWatch:
    """Takes SIGTERM and SIGINT while it is entered.

    It ends the process at once, with a line of what was going on (`moment`). If
    `waits` is true, the first one is kept in `signum` instead, for whoever finds a good
    moment. In trainings of several processes that takes in the next ones for three
    seconds, which a launcher has passed on. Outside of the main thread, where Python
    takes no signals, it does nothing.

    Example:
        >>> with SignalWatch() as watch:
        ...     watch.waits = True
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     watch.signum
        15
    """

    def __init__(self) -> None:
        self.signum = 0
        self.waits = False
        self.moment = "before the training"
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "SignalWatch":
        self._process = os.getpid()
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._take) for s in SIGNALS}
        return self

    def __exit__(self, *_: Any) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _take(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker; the training ends it
            return
        now = time.monotonic()
        if self.waits and not self.signum:
            self.signum, self._since = signum, now
            return
        if self.waits and get_world_size() > 1 and now - self._since < FORWARDED:
            return
        if not self.signum and get_rank() == 0:
            # no exception: raised in the midst of anything, it can get lost
            line = f"stopped by {signal.Signals(signum).name}: {self.moment}\n"
            os.write(sys.stderr.fileno(), line.encode())
        os._exit(128 + signum)


def _survive_first_signal(
    initialize: Callable | None, worker_id: int, **kwargs: Any
) -> None:
    """Initialize a loader's worker that Slurm's SIGTERM to all processes leaves alive.

    The training process would otherwise fail in the middle of a step. The second
    SIGTERM ends the worker: PyTorch's own, as the process exits.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(
        signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL)
    )
    if initialize is not None:
        initialize(worker_id, **kwargs)


class StopOnSignalHook(Hook):
    """Write a checkpoint and stop, once a signal has come.

    It stops after the iteration, in all processes after the same one, whichever of
    them got the signal. While gradients are accumulated it waits for the optimizer's
    step. While the model is validated it stops at once if a checkpoint has all of the
    training, and else after the validation. A checkpoint in the middle of an epoch
    needs `ResumableEpochLoop`; other loops that count epochs keep that of the last
    whole epoch. Needs `AtomicCheckpointHook` to write one. `stop_on_signal` registers
    it.

    Args:
        watch (SignalWatch): Where the signal is noted. It waits as long as this hook
            has a training.
    """

    priority = "LOWEST"  # after the checkpoints

    def __init__(self, watch: SignalWatch) -> None:
        self._watch = watch

    def before_train(self, runner: Runner) -> None:
        """From now on a signal waits for its moment."""
        hooks = (h for h in runner.hooks if isinstance(h, AtomicCheckpointHook))
        self._checkpoints = next(hooks, None)
        loaders = [runner.train_dataloader]
        if runner.val_loop is not None:
            loaders.append(runner.val_dataloader)
        for loader in loaders:
            loader.worker_init_fn = partial(
                _survive_first_signal, loader.worker_init_fn
            )
        self._watch.waits = True

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Find the place in the epoch from which a resumed training goes on."""
        take_up_place(runner, checkpoint)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Sequence | dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Stop if a signal has come, and the optimizer has made its step."""
        signum = self._agreed()
        if signum and _has_stepped(runner):
            self._stop(runner, signum, batch_idx + 1, runner.iter + 1)

    def after_val_iter(self, runner: Runner, **_: Any) -> None:
        """Stop if there is nothing to write."""
        if self._watch.signum and self._is_saved(runner.iter):
            self._stop(runner, self._watch.signum, 0, runner.iter)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Stop if a signal has come."""
        signum = self._agreed()
        if signum:
            self._stop(runner, signum, 0, runner.iter)

    def end_waiting(self, runner: Runner) -> None:
        """Stop if a signal has come. The next one ends the process where it is."""
        signum = self._agreed()
        if signum:
            self._stop(runner, signum, 0, runner.iter)
        self._watch.moment = "after the training"
        self._watch.waits = False
        if self._watch.signum:  # meanwhile
            raise Interrupted(self._watch.signum, self._watch.moment)

    def _agreed(self) -> int:
        """The signal that any of the processes got."""
        signum = torch.tensor(self._watch.signum)
        if get_world_size() > 1:
            all_reduce(signum, "max")
        return int(signum)

    def _is_saved(self, iters: int) -> bool:
        return self._checkpoints is not None and self._checkpoints.saved_iter == iters

    def _stop(self, runner: Runner, signum: int, batches: int, iters: int) -> None:
        meta = {"epoch": runner.epoch, "iter": iters}
        loop, hook = runner.train_loop, self._checkpoints
        counts_epochs = isinstance(loop, EpochBasedTrainLoop)
        resumable = isinstance(loop, ResumableEpochLoop) or not counts_epochs
        if hook is not None and resumable and not self._is_saved(iters):
            if counts_epochs:
                meta[PLACE] = loop.place(batches)
            hook.save_interrupted(runner, meta)
        if hook is None or hook.last_ckpt is None:
            raise Interrupted(signum, f"after iteration {iters}, nothing was written")
        raise Interrupted(
            signum, f"after iteration {iters}, --resume takes {hook.last_ckpt}"
        )


class _EndOfTrainingHook(Hook):
    """Ends the waiting before other hooks measure what may take hours."""

    priority = "HIGHEST"

    def __init__(self, hook: StopOnSignalHook) -> None:
        self._hook = hook

    def after_train(self, runner: Runner) -> None:
        """The last checkpoint is written."""
        self._hook.end_waiting(runner)


def stop_on_signal(runner: Runner, watch: SignalWatch) -> None:
    """Let a training stop on a signal, so that it can go on.

    Args:
        runner (Runner): The training.
        watch (SignalWatch): Where the signal is noted.
    """
    hook = StopOnSignalHook(watch)
    runner.register_hook(hook)
    runner.register_hook(_EndOfTrainingHook(hook))


def _has_stepped(runner: Runner) -> bool:
    wrapper = runner.optim_wrapper
    several = hasattr(wrapper, "optim_wrappers")  # `OptimWrapperDict`
    wrappers = wrapper.optim_wrappers.values() if several else [wrapper]
    return all(w.should_update() for w in wrappers)
