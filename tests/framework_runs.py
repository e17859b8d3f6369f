"""A config of each framework on a handful of images, and the tools run on them."""

import json
import multiprocessing
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from matplotlib import _tight_bbox, rc_context
from mmdet.utils import benchmark
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

# What tools put something else in the place of
REPLACED = (
    (_tight_bbox, "adjust_bbox"),
    (benchmark, "load_checkpoint"),
    (benchmark, "get_max_cuda_memory"),
    (Runner, "from_cfg"),
    (multiprocessing, "Pool"),
    (torch, "load"),
    (torch, "save"),
    (torch.cuda, "synchronize"),
    (BaseModel, "cuda"),
)
ROOT = Path(__file__).parents[1]
CLASSIFIER = """
_base_ = '{root}/configs/classification/digits/resnet20-spem_1xb64_digits.py'
train_dataloader = dict(dataset=dict(indices=3))
test_dataloader = dict(dataset=dict(indices=40))
"""
DETECTOR = """
_base_ = '{root}/configs/demo/faster-rcnn_resnet18-half-nlp_fpn_digits-coco.py'
data_root = '{folder}/'
dataset = dict(data_root=data_root, ann_file='boxes.json',
               data_prefix=dict(img='images/'))
loader = dict(num_workers=0, persistent_workers=False, dataset=dataset)
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
val_evaluator = dict(ann_file=data_root + 'boxes.json')
test_evaluator = val_evaluator
"""


@pytest.fixture(scope="module", name="folder")
def configs_and_images(tmp_path_factory):
    """A config of each framework, and four images with a box each."""
    folder = tmp_path_factory.mktemp("framework_tools")
    (folder / "classifier.py").write_text(CLASSIFIER.format(root=ROOT))
    (folder / "detector.py").write_text(DETECTOR.format(root=ROOT, folder=folder))
    (folder / "images").mkdir()
    images, annotations = [], []
    for i in range(4):
        cv2.imwrite(str(folder / f"images/{i}.png"), np.full((64, 64, 3), 60 * i))
        images.append({"id": i, "file_name": f"{i}.png", "height": 64, "width": 64})
        box = {"bbox": [8, 8, 20 + i, 30], "area": 30 * (20 + i), "iscrowd": 0}
        annotations.append({"id": i, "image_id": i, "category_id": i, **box})
    categories = [{"id": i, "name": str(i)} for i in range(10)]
    boxes = dict(images=images, annotations=annotations, categories=categories)
    (folder / "boxes.json").write_text(json.dumps(boxes))
    return folder


@pytest.fixture(name="tool")
def tool_runner(folder, monkeypatch, capfd):
    """Run a tool as the main program, in this process: importing takes seconds."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(DefaultScope, "_instance_dict", {})
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("MPLBACKEND", "Agg")
    for owner, name in REPLACED:
        monkeypatch.setattr(owner, name, getattr(owner, name))

    def run(script, *arguments):
        path = str(ROOT / "tools" / script)
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        with rc_context():  # seaborn, where it is, changes the style
            runpy.run_path(path, run_name="__main__")
        return capfd.readouterr().out

    return run
