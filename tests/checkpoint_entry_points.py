"""Everything that loads a checkpoint, as functions of a path and a `Place`."""

import os
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.apis import DetInferencer, init_detector
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmpretrain import ImageClassificationInferencer, get_model
from tool_modules import load_tool

from attnpool_mm.checkpoint import load_checkpoint_file

CLASSIFIER = """
default_scope = 'mmpretrain'
pipeline = [dict(type='Resize', scale=16), dict(type='PackInputs')]
dataset = dict(type='attnpool_mm.Digits', indices=16, pipeline=pipeline)
train_dataloader = dict(
    batch_size=8, num_workers=0, dataset=dict(split='train', **dataset),
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(
    batch_size=8, num_workers=0, dataset=dict(split='test', test_mode=True, **dataset),
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy')
test_evaluator = val_evaluator
model = dict(
    type='ImageClassifier',
    backbone=dict(type='attnpool_mm.AttnPoolResNetCIFAR', depth=8, base_channels=8,
                  block='basic', pool_cfg=dict(type='SelfAttentivePool2d',
                                               normalize=False)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=32))
data_preprocessor = dict(num_classes=10, mean=[128] * 3, std=[128] * 3)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9))
param_scheduler = dict(type='StepLR', step_size=1)
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(checkpoint=dict(type='CheckpointHook', save_best='auto',
                                     rule='greater', max_keep_ckpts=1))
randomness = dict(seed=0)
"""
DETECTOR = """
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py',
          'mmdet::_base_/default_runtime.py']
pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CocoDataset', ann_file='', metainfo=dict(classes=('a', 'b')),
                 pipeline=pipeline))
model = dict(
    backbone=dict(depth=18, base_channels=4, init_cfg=None),
    neck=dict(in_channels=[4, 8, 16, 32], out_channels=8),
    bbox_head=dict(num_classes=2, in_channels=8, feat_channels=8, stacked_convs=1))
"""


@dataclass
class Place:
    """A folder with a config and a good checkpoint of each framework.

    Attributes:
        folder: The folder, which is the current one while entry points run.
        work_dir: Where trainings go.
    """

    folder: Path
    work_dir: Path

    @classmethod
    def make(cls, folder: Path) -> "Place":
        """Write the configs, train the classifier for an epoch, build the detector."""
        place = cls(folder, folder / "work_dir")
        place.classifier.write_text(CLASSIFIER)
        place.detector.write_text(DETECTOR)
        cv2.imwrite(str(place.image), np.full((16, 16, 3), 99, np.uint8))
        run("train.py", place.classifier, "--work-dir", folder / "trained")
        cfg = Config.fromfile(place.detector)
        with DefaultScope.overwrite_default_scope("mmdet"):
            weights = MODELS.build(cfg.model).state_dict()
        torch.save(dict(state_dict=weights), folder / "detector.pth")
        return place

    @property
    def classifier(self) -> Path:
        return self.folder / "classifier.py"

    @property
    def detector(self) -> Path:
        return self.folder / "detector.py"

    @property
    def image(self) -> Path:
        return self.folder / "image.png"

    def base(self, entry: str) -> dict:
        """The good checkpoint for an entry point, with its training's state."""
        base = load_checkpoint_file(self.folder / "trained" / "epoch_1.pth")
        base["message_hub"]["runtime_info"]["best_score"] = -1.0  # any is better
        if entry in FOR_DETECTORS:
            weights = load_checkpoint_file(self.folder / "detector.pth")["state_dict"]
            base["state_dict"] = weights
        return base


def run(script, *arguments):
    """Run a tool's `main`; it leaves by `SystemExit` if it fails."""
    before = sys.argv
    sys.argv = [script, *map(str, arguments)]
    try:
        load_tool(script).main()
    finally:
        sys.argv = before


def by_url(path, place):
    """As if downloaded before, since tests have no network."""
    os.environ["TORCH_HOME"] = str(place.folder / "torch")
    folder = Path(torch.hub.get_dir(), "checkpoints")
    folder.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes()
    name = f"a-{sha256(content).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content)
    CheckpointLoader.load_checkpoint(f"https://host.invalid/{name}?a=1", "cpu")


def by_init_cfg(path, place):
    run(
        "train.py", place.classifier, "--work-dir", place.work_dir, "--cfg-options",
        "model.init_cfg.type=Pretrained", f"model.init_cfg.checkpoint={path}",
    )  # fmt: skip


def by_load_from(path, place):
    run(
        "train.py", place.classifier, "--work-dir", place.work_dir,
        "--cfg-options", f"load_from={path}",
    )  # fmt: skip


def by_resume(path, place):
    run(
        "train.py", place.classifier, "--work-dir", place.work_dir, "--resume", path,
        "--cfg-options", "train_cfg.max_epochs=2",
    )  # fmt: skip


def by_auto_resume(path, place):
    place.work_dir.mkdir(exist_ok=True)
    own = place.work_dir / "epoch_1.pth"
    own.write_bytes(path.read_bytes())
    (place.work_dir / "last_checkpoint").write_text(str(own))
    run(
        "train.py", place.classifier, "--work-dir", place.work_dir, "--resume",
        "--cfg-options", "train_cfg.max_epochs=2",
    )  # fmt: skip


def load_into(path, place):
    load_checkpoint(torch.nn.Linear(1, 1), str(path), map_location="cpu")


def classify(path, place):
    ImageClassificationInferencer(str(place.classifier), str(path), device="cpu")


# The names say how a user gets there
ENTRY_POINTS = {
    "load_checkpoint_file": lambda path, place: load_checkpoint_file(path),
    "mmengine load_checkpoint": load_into,
    "URL": by_url,
    "get_model": lambda path, place: get_model(str(place.classifier), str(path)),
    "ImageClassificationInferencer": classify,
    "DetInferencer": lambda path, place: DetInferencer(
        str(place.detector), str(path), device="cpu", show_progress=False
    ),
    "DetInferencer without a config": lambda path, place: DetInferencer(
        weights=str(path), device="cpu", show_progress=False
    ),
    "init_detector": lambda path, place: init_detector(
        str(place.detector), str(path), device="cpu"
    ),
    "test.py": lambda path, place: run(
        "test.py", place.classifier, path, "--work-dir", place.work_dir
    ),
    "train.py --resume FILE": by_resume,
    "train.py --resume": by_auto_resume,
    "train.py load_from": by_load_from,
    "train.py init_cfg": by_init_cfg,
    "pooling_weights.py": lambda path, place: run(
        "visualization/pooling_weights.py", place.classifier, path,
        "--num-images", 1, "--work-dir", place.work_dir,
    ),
    "pooling_weights.py --checkpoints": lambda path, place: run(
        "visualization/pooling_weights.py", place.classifier, "--checkpoints", path,
        "--num-images", 1, "--work-dir", place.work_dir,
    ),
    "grad_cam.py": lambda path, place: run(
        "visualization/grad_cam.py", place.classifier, path,
        "--num-images", 1, "--out", place.folder / "cam.png",
    ),
    "unchanged_weights.py": lambda path, place: run(
        "analysis_tools/unchanged_weights.py", path, path
    ),
    "image_demo.py": lambda path, place: run(
        "../demo/image_demo.py", place.image, place.classifier,
        "--weights", path, "--out-dir", place.folder / "drawn",
    ),
    "transfer_backbone.py": lambda path, place: run(
        "model_converters/transfer_backbone.py", path, place.folder / "out.pth",
        "--config", place.classifier, "--quiet",
    ),
    "convert_authors_checkpoint.py": lambda path, place: run(
        "model_converters/convert_authors_checkpoint.py", path,
        place.folder / "out.pth", "--arch", "spem-11", "--quiet",
    ),
}  # fmt: skip
LOADERS = tuple(ENTRY_POINTS)[:3]  # without a network
FOR_DETECTORS = (
    "DetInferencer",
    "DetInferencer without a config",
    "init_detector",
)
