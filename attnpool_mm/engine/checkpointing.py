"""Checkpoints that a kill at any moment leaves whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import isroutine
from itertools import chain
from pathlib import Path
from typing import Any

from mmengine._strategy import DDPStrategy, SingleDeviceStrategy
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..registry import HOOKS
from ..utils.atomic_files import PARTIAL, write_atomically
from .epoch_loop import PLACE_IF_SAME, VALIDATED, ResumableEpochLoop, take_up_place

BACKEND = "attnpool_mm.atomic"
ATOMIC = {"backend": BACKEND}
POINTER = "last_checkpoint"
INTERRUPTED = "interrupted.pth"


def clear_partial_files(folder: str | os.PathLike) -> None:
    """Delete what a killed `write_atomically` has left in a folder.

    Args:
        folder (str | os.PathLike): The folder. No other run may be writing there.
    """
    for partial in Path(folder).glob(f".*{PARTIAL}"):
        partial.unlink(missing_ok=True)


class AtomicBackend(LocalBackend):
    """MMEngine's local files, written by `write_atomically`."""

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write bytes to a file."""
        write_atomically(filepath, obj)


register_backend(BACKEND, AtomicBackend, force=True)


class _LateRemoval:
    """A file backend that notes what is to be removed."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.paths: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self.paths.append(path)

    rmtree = remove


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's `CheckpointHook`, but no moment is without a whole checkpoint.

    MMEngine's deletes the oldest file and then writes the new one in place. This one
    writes under a temporary name, renames, points `last_checkpoint` at the new file,
    and deletes last. That holds for local files; others go MMEngine's way, except for
    the order. `tools/train.py` takes it wherever a config says `CheckpointHook`.

    Args:
        **kwargs (Any): As `CheckpointHook`'s.

    Example:
        >>> default_hooks = dict(checkpoint=dict(
        ...     type='attnpool_mm.AtomicCheckpointHook', max_keep_ckpts=1))
    """

    saved_iter: int | None = None  # iterations done at the newest checkpoint
    _batches: int = 0  # of an epoch that is not at its end
    _counts: dict | None = None  # epochs and iterations of what is being written

    def before_train(self, runner: Runner) -> None:
        """Find the folder, and clear what a killed run has left half-written."""
        folder = str(self.out_dir or runner.work_dir)
        chosen = self.backend_args or self.file_client_args
        if not chosen and "://" not in folder:
            self.backend_args = ATOMIC
        super().before_train(runner)
        if is_main_process():
            for folder in {str(self.out_dir), runner.work_dir}:
                clear_partial_files(folder)
        if self.backend_args == ATOMIC:
            _write_whole_files(runner)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Save a checkpoint that counts iterations, with its place in the epoch."""
        self._batches = batch_idx + 1
        super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def after_train_epoch(self, runner: Runner) -> None:
        """Save a checkpoint that counts epochs."""
        self._batches = 0
        super().after_train_epoch(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        """Save the best checkpoint; from now on checkpoints are validated ones."""
        runner.message_hub.update_info(VALIDATED, runner.epoch)
        super().after_val_epoch(runner, metrics)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Find the place in the epoch from which a resumed training goes on."""
        take_up_place(runner, checkpoint)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Leave out the functions of schedulers, such as `OneCycleLR`'s.

        A file with a function names code, and loading it is refused. A scheduler that
        goes on has its own. What a `FlexibleRunner` counts itself, an epoch or an
        iteration too many, is what this hook has counted.
        """
        checkpoint["meta"].update(self._counts or {})
        states = checkpoint.get("param_schedulers") or []
        by_optimizer = states.values() if isinstance(states, dict) else [states]
        for state in chain.from_iterable(by_optimizer):
            for name in [k for k, value in state.items() if isroutine(value)]:
                del state[name]

    def save_interrupted(self, runner: Runner, meta: dict) -> str:
        """Write the file from which a training that is stopped now goes on.

        The next checkpoint replaces it.

        Args:
            runner (Runner): The runner.
            meta (dict): What goes into the checkpoint's `meta`, `epoch` and `iter` with
                it.

        Returns:
            The path of the file.
        """
        self._write(runner, INTERRUPTED, meta, resumable=True)
        return self.last_ckpt

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        loop = runner.train_loop
        if self._batches and isinstance(loop, ResumableEpochLoop):
            meta = {**meta, PLACE_IF_SAME: loop.place(self._batches)}
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            kept = [*self.keep_ckpt_ids, step]
            outdated = kept[: -self.max_keep_ckpts]
            # With those to be deleted: a resumed run deletes what this one could not
            runner.message_hub.update_info("keep_ckpt_ids", kept)
            self.keep_ckpt_ids.append(step)
        self._write(runner, self.filename_tmpl.format(step), meta)
        names = [*map(self.filename_tmpl.format, outdated), INTERRUPTED]
        self._remove(self.file_backend.join_path(self.out_dir, n) for n in names)
        if outdated:
            kept = list(self.keep_ckpt_ids)
            runner.message_hub.update_info("keep_ckpt_ids", kept)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        counts = {"epoch": runner.epoch, "iter": runner.iter}
        with self._removing_last(), self._counting(counts):
            super()._save_best_checkpoint(runner, metrics)

    def _write(
        self, runner: Runner, filename: str, meta: dict, resumable: bool = False
    ) -> None:
        """Write a checkpoint, and then say in `last_checkpoint` that it is there."""
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        self.saved_iter = meta["iter"]
        with self._counting({"epoch": meta["epoch"], "iter": meta["iter"]}):
            runner.save_checkpoint(
                self.out_dir,
                filename,
                self.file_client_args,
                save_optimizer=resumable or self.save_optimizer,
                save_param_scheduler=resumable or self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
        if is_main_process():
            pointer = Path(runner.work_dir, POINTER)
            write_atomically(pointer, self.last_ckpt.encode())

    @contextmanager
    def _counting(self, counts: dict) -> Iterator[None]:
        before, self._counts = self._counts, counts
        try:
            yield
        finally:
            self._counts = before

    @contextmanager
    def _removing_last(self) -> Iterator[None]:
        backend = self.file_backend
        self.file_backend = late = _LateRemoval(backend)
        try:
            yield
        finally:
            self.file_backend = backend
        written = {getattr(self, "best_ckpt_path", None)}
        written |= set(getattr(self, "best_ckpt_path_dict", {}).values())
        self._remove(path for path in late.paths if path not in written)

    def _remove(self, paths: Iterator[str]) -> None:
        if not is_main_process():
            return
        for path in paths:
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):  # DeepSpeed's
                self.file_backend.rmtree(path)


def _write_whole_files(runner: Runner) -> None:
    """Let the strategy of a `FlexibleRunner`, which asks no backend, rename its files.

    Strategies whose checkpoints are folders stay as they are.
    """
    strategy = getattr(runner, "strategy", None)
    save = getattr(strategy, "save_checkpoint", None)
    kinds = (SingleDeviceStrategy.save_checkpoint, DDPStrategy.save_checkpoint)
    if getattr(save, "__func__", None) not in kinds:
        return

    def save_whole(filename: str, **options: Any) -> None:
        target = Path(filename)
        partial = target.with_name(f".{target.name}{PARTIAL}")
        save(str(partial), **options)
        if is_main_process():
            with open(partial, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(partial, target)

    strategy.save_checkpoint = save_whole
