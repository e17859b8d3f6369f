"""Epochs that can be taken up in their middle."""

import random
from collections import deque
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..registry import LOOPS
from ..utils.checks import is_int
from ..utils.errors import ConfigError

# In MMEngine's message hub: how many epochs the newest validation has seen
VALIDATED = "epochs_validated"
# In a checkpoint's meta: where in an epoch it is, and where it is if the epochs are of
# the same length
PLACE, PLACE_IF_SAME = "place", "place_if_same"


def random_state() -> dict:
    """The state of this process's random generators, in tensors and numbers."""
    version, numbers, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    state = {
        "python": (version, torch.tensor(numbers), gauss),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Put this process's random generators into a state of `random_state`.

    Args:
        state (dict): The state. A GPU's is left out where there is none.

    Example:
        >>> state = random_state()
        >>> first = torch.rand(())
        >>> set_random_state(state)
        >>> bool(torch.rand(()) == first)
        True
    """
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """MMEngine's `EpochBasedTrainLoop`, which also goes on in the middle of an epoch.

    It loads the batches that the epoch has used, without training on them, and then
    sets the random state that was saved after the last of them. With `EpochSeedHook`
    the rest of the epoch is then what it would have been. A checkpoint that was
    written before the validation of its epoch is validated first. `tools/train.py`
    takes this loop wherever a config says `EpochBasedTrainLoop`.

    Args:
        **kwargs (Any): As `EpochBasedTrainLoop`'s.

    Example:
        >>> train_cfg = dict(type='attnpool_mm.ResumableEpochLoop', max_epochs=12)
    """

    _place: dict | None = None

    def place(self, batches: int) -> dict:
        """Say where in the epoch this training is, for `take_up`.

        Call it in every process of the training.

        Args:
            batches (int): How many batches of the epoch are done.
        """
        return {
            "batches": batches,
            "of": len(self.dataloader),
            "random_states": all_gather_object(random_state()),
        }

    def take_up(self, place: Any) -> None:
        """Start the next epoch where `place` says.

        Args:
            place (Any): What a checkpoint has kept of `place`.

        Raises:
            ConfigError: It is something else, or of epochs of another length.
        """
        keys = {"batches", "of", "random_states"}
        if not isinstance(place, dict) or place.keys() != keys:
            raise ConfigError("--resume: the checkpoint's meta.place is none of ours")
        if is_int(place["of"]) and place["batches"] == place["of"]:
            place = {**place, "batches": len(self.dataloader)}  # a whole epoch
        elif place["of"] != len(self.dataloader):
            raise ConfigError(
                f"--resume: the checkpoint is from the middle of an epoch of "
                f"{place['of']} batches, and train_dataloader has "
                f"{len(self.dataloader)}; the same batch_size and number of processes "
                "is expected, or a checkpoint of a whole epoch"
            )
        elif place["batches"] not in range(place["of"] + 1):
            raise ConfigError(
                f"--resume: meta.place.batches={place['batches']!r}: "
                f"0 to {place['of']} is accepted"
            )
        self._place = place

    def run(self) -> torch.nn.Module:
        """Train, and validate when it is due."""
        self.runner.call_hook("before_train")
        if self.runner.message_hub.get_info(VALIDATED, 0) < self._epoch:
            self._validate_if_due()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate_if_due()
        self.runner.call_hook("after_train")
        return self.runner.model

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        last = self._epoch == self._max_epochs
        due = last or self._epoch % self.val_interval == 0
        if self.runner.val_loop is not None and self._epoch >= self.val_begin and due:
            self.runner.val_loop.run()

    def run_epoch(self) -> None:
        """Iterate over one epoch, or over the rest of it."""
        place, self._place = self._place, None
        done = place["batches"] if place else 0
        if place and done == 0:
            self._restore(place)
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        ended = done == len(self.dataloader)
        batches = iter(()) if ended else enumerate(self.dataloader)
        if done:
            self.runner.logger.info(f"Reading over {done} batches that are done")
            deque(islice(batches, done), maxlen=0)
            self._restore(place)
        for idx, data_batch in batches:
            self.run_iter(idx, data_batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _restore(self, place: dict) -> None:
        """Set the random state of this process, if it was one of those saved."""
        try:
            if get_rank() < len(place["random_states"]):
                set_random_state(place["random_states"][get_rank()])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as e:
            raise ConfigError(f"--resume: meta.place.random_states: {e}") from e


def take_up_place(runner: Runner, checkpoint: dict) -> None:
    """Let a resumed training go on in the middle of an epoch.

    Args:
        runner (Runner): The training. Without a `ResumableEpochLoop`, or if it is not
            resumed, nothing is done.
        checkpoint (dict): What it has loaded, whose `meta` may have a `place`.

    Raises:
        ConfigError: As in `ResumableEpochLoop.take_up`, if it is of a training that a
            signal stopped.
    """
    meta = checkpoint.get("meta", {})
    if not runner._resume or not isinstance(runner.train_loop, ResumableEpochLoop):
        return
    if meta.get(PLACE) is not None:
        runner.train_loop.take_up(meta[PLACE])
    elif meta.get(PLACE_IF_SAME) is not None:
        try:
            runner.train_loop.take_up(meta[PLACE_IF_SAME])
        except ConfigError as error:
            runner.logger.warning(f"The epoch starts anew. {error}")
