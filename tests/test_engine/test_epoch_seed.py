"""A training that goes on equals the uninterrupted one."""

import numpy as np
import pytest
import torch
from trainings import train

from attnpool_mm.utils.errors import ConfigError


class TestEpochSeed:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_draws_are_of_the_epoch(self, tmp_path, workers):
        first = train(tmp_path, workers=workers)
        assert len({*first.loaded, *first.own}) == 3 * (8 + 4)  # none comes twice
        assert sorted(first.order) == sorted(3 * list(range(8)))
        assert first.order[:8] != first.order[8:16]
        np.random.rand(5), torch.rand(5)  # another state of this process
        resumed = train(
            tmp_path,
            workers=workers,
            seed=None,
            resume=True,
            load_from=str(tmp_path / "epoch_1.pth"),
        )
        assert resumed.loaded == first.loaded[8:]
        assert resumed.order == first.order[8:]
        assert resumed.own == first.own[4:]

    def test_epochs_are_needed(self, tmp_path):
        train_cfg = dict(by_epoch=False, max_iters=1)
        with pytest.raises(ConfigError, match="train_cfg.type='IterBasedTrainLoop'"):
            train(tmp_path, train_cfg=train_cfg)
