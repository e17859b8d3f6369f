"""Trainings of a fraction of a second, which draw random numbers."""

import itertools

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner

from attnpool_mm.checkpoint import use_safe_loading
from attnpool_mm.engine import adjustments, launch

NUMBERS = itertools.count()  # MMEngine keeps what a run of a name has logged


class Draws(torch.utils.data.Dataset):
    """Eight samples, each the next random number of the process that loads it."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"drawn": np.random.rand(), "index": index}


class Recorder(BaseModel):
    """Keeps its batches, each with a random number of the training process.

    Its weight depends on all of them. `at` maps the number of a batch, counted from
    0, to what is called then.
    """

    def __init__(self, at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.register_buffer("steps", torch.zeros(()))
        self.loaded, self.order, self.own = [], [], []
        self.at = at or {}

    def forward(self, drawn, index, mode="loss"):
        if mode == "predict":
            return [{"score": self.steps.item()}] * len(index)
        self.at.get(len(self.own), lambda: None)()
        self.steps += 1
        self.loaded += drawn.tolist()
        self.order += index.tolist()
        self.own.append(torch.rand(()).item())
        return {"loss": (self.weight - self.own[-1] * drawn.mean()) ** 2}


class Score(BaseMetric):
    """How many steps the model has made: better at every validation."""

    def process(self, data_batch, data_samples):
        self.results += [sample["score"] for sample in data_samples]

    def compute_metrics(self, results):
        return {"acc": results[0], "other": -results[0]}


def make_runner(
    work_dir,
    model,
    workers=0,
    seed=0,
    validate=False,
    ours=True,
    sampler="DefaultSampler",
    kind=Runner,
    **keys,
):
    """A runner of three epochs of four batches.

    It is as `tools/train.py` makes it, or if not `ours`, MMEngine's. `kind` is its
    class.
    """

    def loader(shuffle):
        order = sampler if shuffle else "DefaultSampler"
        return dict(
            batch_size=2,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=dict(type="default_collate"),
            dataset=Draws(),
            sampler=dict(type=order, shuffle=shuffle),
        )

    if validate:
        keys.update(
            val_dataloader=loader(False), val_evaluator=Evaluator(Score()), val_cfg={}
        )
    cfg = dict(
        work_dir=str(work_dir),
        experiment_name=f"{work_dir.name}-{next(NUMBERS)}",
        train_dataloader=loader(True),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
        custom_hooks=[dict(type="attnpool_mm.EpochSeedHook")],
        randomness=dict(seed=seed),
        log_level="ERROR",
    )
    cfg = {**cfg, **keys}
    options = {k: cfg.pop(k) for k in ("default_hooks", "train_cfg", "custom_hooks")
               if k in cfg}  # fmt: skip
    options = Config(options)
    if ours:
        adjustments.use_resumable_training(options)
        use_safe_loading(work_dir=work_dir, torch_load=False)
    return kind(model, **cfg, **options)


def train(work_dir, model=None, **keys):
    """Run the training of `make_runner`; return its model."""
    runner = make_runner(work_dir, model or Recorder(), **keys)
    runner.train()
    launch.stop_workers(runner)
    return runner.model
