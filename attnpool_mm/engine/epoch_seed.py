"""Randomness that depends on the epoch alone, so that a training can be resumed."""

from functools import partial

import numpy as np
from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner, set_random_seed

from ..registry import HOOKS
from ..utils.errors import ConfigError


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Start every epoch from a random state of its own, made of seed and epoch.

    A checkpoint of MMEngine's holds no random state: what a resumed training draws
    (augmentations, dropout, proposals) differs from what the uninterrupted one would
    have drawn. With this hook in both, they draw the same, and on the CPU their
    parameters are equal, where no gradients are accumulated over the end of an epoch:
    those are in no checkpoint. The workers of the training's data loader start anew in
    every epoch, which costs a fork each. Without a seed in the config's `randomness`
    the one that the checkpoint keeps is used, for the order of the samples too.

    Raises:
        ConfigError: Before the training, if it does not count epochs: MMEngine
            resumes it by reading over the samples that it has used.

    Example:
        >>> custom_hooks = [dict(type='attnpool_mm.EpochSeedHook')]
    """

    # Before all that draws, DistSamplerSeedHook among it
    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        """Agree on the seed, now that a checkpoint may have brought it."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ConfigError(
                "custom_hooks EpochSeedHook: "
                f"train_cfg.type={type(runner.train_loop).__name__!r} counts no "
                "epochs; EpochBasedTrainLoop is accepted"
            )
        seeds = [runner.seed]
        broadcast_object_list(seeds)
        self._seed = seeds[0]
        self._offset = runner.seed - self._seed  # the rank's, with diff_rank_seed
        # MMEngine made it before it resumed, with another seed if the config has none
        sampler_cfg = (runner.cfg.get("train_dataloader") or {}).get("sampler") or {}
        sampler = runner.train_dataloader.batch_sampler.sampler
        if hasattr(sampler, "seed") and "seed" not in sampler_cfg:
            sampler.seed = self._seed

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the process, and start workers that are seeded so too."""
        # 31 bits: the workers and ranks add small numbers, and NumPy takes 32
        state = np.random.SeedSequence([self._seed, runner.epoch]).generate_state(1)
        seed = int(state[0]) >> 1
        set_random_seed(seed + self._offset)
        loader = runner.train_dataloader
        if isinstance(loader.worker_init_fn, partial):  # MMEngine's
            loader.worker_init_fn = partial(loader.worker_init_fn, seed=seed)
        loader._iterator = None
