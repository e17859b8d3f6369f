"""A training that goes on equals the uninterrupted one."""

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner

from attnpool_mm.engine import launch
from attnpool_mm.utils.errors import ConfigError


class Draws(torch.utils.data.Dataset):
    """Eight samples, each the next random number of the process that loads it."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"drawn": np.random.rand(), "index": index}


class Recorder(BaseModel):
    """Keeps its batches, each with a random number of the training process."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.loaded, self.order, self.own = [], [], []

    def forward(self, drawn, index, mode="loss"):
        self.loaded += drawn.tolist()
        self.order += index.tolist()
        self.own.append(torch.rand(()).item())
        return {"loss": self.weight}


class TestEpochSeed:
    def train(self, work_dir, workers, seed=0, **keys):
        model = Recorder()
        runner = Runner(
            model,
            work_dir=str(work_dir),
            experiment_name=f"{workers}-{len(list(work_dir.iterdir()))}",
            train_dataloader=dict(
                batch_size=2,
                num_workers=workers,
                persistent_workers=workers > 0,
                collate_fn=dict(type="default_collate"),
                dataset=Draws(),
                sampler=dict(type="DefaultSampler", shuffle=True),
            ),
            train_cfg=keys.pop("train_cfg", dict(by_epoch=True, max_epochs=3)),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
            custom_hooks=[dict(type="attnpool_mm.EpochSeedHook")],
            randomness=dict(seed=seed),
            log_level="ERROR",
            **keys,
        )
        runner.train()
        launch.stop_workers(runner)
        return model

    @pytest.mark.parametrize("workers", [0, 2])
    def test_draws_are_of_the_epoch(self, tmp_path, workers):
        first = self.train(tmp_path, workers)
        assert len({*first.loaded, *first.own}) == 3 * (8 + 4)  # none comes twice
        assert sorted(first.order) == sorted(3 * list(range(8)))
        assert first.order[:8] != first.order[8:16]
        np.random.rand(5), torch.rand(5)  # another state of this process
        resumed = self.train(
            tmp_path,
            workers,
            None,
            resume=True,
            load_from=str(tmp_path / "epoch_1.pth"),
        )
        assert resumed.loaded == first.loaded[8:]
        assert resumed.order == first.order[8:]
        assert resumed.own == first.own[4:]

    def test_epochs_are_needed(self, tmp_path):
        train_cfg = dict(by_epoch=False, max_iters=1)
        with pytest.raises(ConfigError, match="train_cfg.type='IterBasedTrainLoop'"):
            self.train(tmp_path, 0, train_cfg=train_cfg)
