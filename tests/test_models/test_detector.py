"""Necks follow their backbones, and what does not fit is said."""

import json
import re
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.models import FPN, FasterRCNN, ResNet
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.hub import get_config
from mmengine.model import BaseModule
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.structures import InstanceData
from torch import nn

from attnpool_mm.models import attn_pool_backbone
from attnpool_mm.models.detector import attn_pool_detector, check_detector
from attnpool_mm.models.heads import SSDHead
from attnpool_mm.utils.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
ANCHORS = dict(type="AnchorGenerator", ratios=[1.0], scales=[4])


def keyword(arch, *out_indices):
    return dict(type="attnpool_mm.AttnPoolBackbone", arch=arch, out_indices=out_indices)


def retina(**changes):
    cfg = dict(
        detector="RetinaNet",
        backbone=keyword("resnet18-lip-1222", 1, 2, 3),
        neck=dict(type="FPN", in_channels=None, out_channels=16, num_outs=5),
        bbox_head=dict(
            type="RetinaHead",
            num_classes=2,
            in_channels=16,
            feat_channels=16,
            anchor_generator=dict(strides=[8, 16, 32, 64, 128], **ANCHORS),
        ),
    )
    return changed(cfg, changes)


def ssd(**changes):
    cfg = Config.fromfile(CONFIGS / "_base_/models/ssdlite_keyword.py").model
    cfg.pop("type")
    cfg.backbone.arch = "mobilenet-skip-1222121"
    return changed(cfg, changes)


def yolo(**changes):
    cfg = get_config("mmdet::yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py").model
    cfg.detector = cfg.pop("type")
    cfg.backbone = keyword("resnet18-skip-1222", 1, 2, 3)
    cfg.neck.in_channels = None
    return changed(cfg, changes)


def faster_rcnn(**changes):
    cfg = Config.fromfile(CONFIGS / "_base_/models/faster-rcnn_keyword_fpn.py").model
    cfg.pop("type")
    cfg.backbone.pop("init_cfg")  # pretrained weights are not here
    cfg.backbone.arch = "resnet18-skip-1222"
    return changed(cfg, changes)


def changed(cfg, changes):
    """A copy with other values, 'neck__out_channels' standing for a key of a key."""
    cfg = Config(deepcopy(cfg))
    cfg.merge_from_dict({k.replace("__", "."): v for k, v in changes.items()})
    cfg = ConfigDict(cfg.to_dict())
    cfg.pop("_scope_", None)
    return cfg


def maps_of(model, side):
    model.eval()
    with torch.no_grad():
        given = model.backbone(torch.rand(1, 3, side, side))
        return given, model.neck(given)


def strides_of(model, side):
    return [round(side / m.shape[-1]) for m in maps_of(model, side)[1]]


@pytest.mark.parametrize(
    "make, side", [(ssd, 320), (yolo, 256), (faster_rcnn, 256), (retina, 256)]
)
def test_channels_and_strides_are_those_of_real_maps(make, side):
    model = attn_pool_detector(**make())
    given, maps = maps_of(model, side)
    channels = [m.shape[1] for m in given]
    head = model.bbox_head if make is not faster_rcnn else model.rpn_head
    strides = [s for s, _ in head.prior_generator.strides]
    assert strides == strides_of(model, side)
    if make is yolo:
        assert model.neck.in_channels == channels[::-1]
        assert model.bbox_head.featmap_strides == strides
    elif make is ssd:
        assert model.bbox_head.in_channels == [m.shape[1] for m in maps]
    else:
        assert model.neck.in_channels == channels
    if make is faster_rcnn:
        extractor = model.roi_head.bbox_roi_extractor
        assert extractor.featmap_strides == strides[:4]


@pytest.mark.parametrize("make, side, arch, key", [
    (ssd, 320, "mobilenet-skip-2222121", "bbox_head: anchor_generator.strides"),
    # A pool rounds down where a convolution rounds up
    (ssd, 320, "mobilenet-skip-4222121", "bbox_head: anchor_generator.strides"),
    (ssd, 320, "mobilenet-maxp-4222121", "bbox_head: anchor_generator.strides"),
    (yolo, 256, "resnet18-skip-2222", "bbox_head: featmap_strides"),
    (faster_rcnn, 256, "resnet18-skip-2222", "rpn_head: anchor_generator.strides"),
    (retina, 512, "resnet18-lip-4222", "bbox_head: anchor_generator.strides"),
])  # fmt: skip
def test_other_strides_are_told(make, side, arch, key):
    model = attn_pool_detector(**make())
    if make is ssd:
        model.backbone = attn_pool_backbone(arch)
    else:
        model.backbone = attn_pool_backbone(
            arch, out_indices=model.backbone.out_indices
        )
    right = strides_of(model, side)
    with pytest.raises(ConfigError) as caught:
        check_detector(model)
    said = str(caught.value)
    assert re.search(rf"{re.escape(key)}=\[[^:]*\]: {re.escape(str(right))}", said)
    assert str(list(model.backbone.out_strides)) in said and "\n" not in said
    if make is faster_rcnn:
        assert f"bbox_roi_extractor.featmap_strides=[4, 8, 16, 32]: {right[:4]}" in said


STRIDES = "bbox_head__anchor_generator__strides"


@pytest.mark.parametrize("cfg, named", [
    (retina(neck__in_channels=[256, 512, 1024]),
     ["neck: in_channels=[256, 512, 1024]", "[128, 256, 512]"]),
    (retina(neck__in_channels=[64, 64]),
     ["neck: in_channels=[64, 64]", "[128, 256, 512]"]),
    (retina(bbox_head__in_channels=32),
     ["bbox_head: in_channels=32", "[16, 16, 16, 16, 16]"]),
    (retina(**{STRIDES: [8, 16, 32, 64]}),
     ["strides=[8, 16, 32, 64]", "[8, 16, 32, 64, 128]"]),
    (retina(**{STRIDES: [(8, 8), (16, 16), (32, 64), 64, 128]}),
     ["strides=[8, 16, (32, 64), 64, 128]", "[8, 16, 32, 64, 128]"]),
    (retina(detector="RetinaNett"), ["detector='RetinaNett'", "'RetinaNet'"]),
    (retina(detector="FPN"), ["detector='FPN'"]),
    (retina(roi_head={}), ["roi_head"]),
    (retina(neck__type="Nope"), ["neck: type=Nope"]),
    (ssd(neck__level_strides=2), ["level_strides=2", "[96, 1280]"]),
    (ssd(neck__level_paddings=[1, 1]), ["level_paddings=[1, 1]", "[96, 1280]"]),
    (ssd(backbone__out_indices=(3, 4, 7)),
     ["in_channels=[64, 96, 1280]", "out_channels=[64, 96, 512"]),
    (ssd(neck__in_channels=[64, 1280]),
     ["bbox_head: in_channels=[64, 1280", "[96, 1280, 512"]),
    (ssd(neck__in_channels=[96, 320]), ["SSDNeck", "[96, 1280]"]),
    (yolo(neck__in_channels=[128, 256, 512]),
     ["neck: in_channels=[128, 256, 512]", "[512, 256, 128]"]),
    (yolo(backbone__arch="resnet18-skip-1212"), ["YOLOV3Neck", "[8, 8, 16]"]),
], ids=lambda value: value[0] if isinstance(value, list) else "")  # fmt: skip
def test_what_does_not_fit_is_one_line(cfg, named):
    with pytest.raises(ConfigError) as caught:
        attn_pool_detector(**cfg)
    said = str(caught.value)
    assert "\n" not in said
    for words in named:
        assert words in said


def test_strides_may_be_off_by_a_fifth():
    attn_pool_detector(**retina(**{STRIDES: [8, 16, 32, 64, 108]}))
    for strides in ([8, 16, 32, 64, 105], [10, 20, 40, 80, 160]):
        with pytest.raises(ConfigError, match=re.escape(f"strides={strides}")):
            attn_pool_detector(**retina(**{STRIDES: strides}))


def test_a_list_of_necks():
    cfg = retina(bbox_head__in_channels=None)
    cfg["neck"] = [cfg["neck"], dict(type="BFP", in_channels=16, num_levels=5)]
    model = attn_pool_detector(**cfg)
    assert model.neck[0].in_channels == [128, 256, 512]
    assert model.bbox_head.in_channels == 16
    assert cfg["neck"][0]["in_channels"] is None  # the config stays as it is


def test_a_head_without_a_neck():
    head = dict(
        type=SSDHead,
        num_classes=2,
        in_channels=None,
        anchor_generator=dict(
            type="SSDAnchorGenerator",
            strides=[16, 32],
            ratios=[[2], [2]],
            min_sizes=[20, 40],
            max_sizes=[40, 80],
        ),
    )
    cfg = dict(backbone=keyword("mobilenet-skip-1222121", 4, 6), bbox_head=head)
    model = attn_pool_detector("SingleStageDetector", **cfg)
    assert model.bbox_head.in_channels == [96, 320]
    head["in_channels"] = [96, 160]
    with pytest.raises(ConfigError, match=r"bbox_head: in_channels=\[96, 160\]"):
        attn_pool_detector("SingleStageDetector", **cfg)


@pytest.mark.parametrize("backbone", [
    dict(type="ResNet", depth=18, out_indices=(1, 2, 3)),
    dict(type="mmpretrain.RegNet", arch="regnetx_400mf", out_indices=(1, 2, 3)),
    dict(type="SwinTransformer", embed_dims=24, out_indices=(1, 2, 3)),
    dict(
        type="attnpool_mm.PooledBackbone",
        backbone=dict(type="mmdet.ResNet", depth=18, out_indices=(1, 2, 3)),
        pool_cfg=dict(type="LocalImportancePool2d"),
    ),
], ids=lambda cfg: cfg["type"])  # fmt: skip
def test_backbones_of_other_origin(backbone):
    cfg = dict(retina(), backbone=backbone)
    model = attn_pool_detector(**cfg)
    model.eval()
    with torch.no_grad():
        maps = model.backbone(torch.rand(1, 3, 64, 64))
    assert model.neck.in_channels == [m.shape[1] for m in maps]
    cfg["bbox_head"]["anchor_generator"]["strides"] = [16, 32, 64, 128, 256]
    with pytest.raises(ConfigError, match=r"strides=\[16, .*\[8, 16, 32, 64, 128\]"):
        attn_pool_detector(**cfg)


def test_a_backbone_that_says_its_channels_is_believed():
    """One that a run without values does not tell of, but that says them itself."""
    backbone = ResNet(18, out_indices=(1, 2, 3))
    backbone.forward = lambda x: [x[x > 0]]
    with pytest.raises(ConfigError, match="in_channels=None"):
        attn_pool_detector(**dict(retina(), backbone=backbone))
    backbone.out_channels, backbone.out_strides = (128, 256, 512), (8, 16, 32)
    model = attn_pool_detector(**dict(retina(), backbone=backbone))
    assert model.neck.in_channels == [128, 256, 512]


@pytest.mark.parametrize("path, key", {
    "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py": "rpn_head",
    "faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco.py": "rpn_head",
    "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py": "bbox_head",
    "ssd/ssd300_coco.py": "bbox_head",
    "yolact/yolact_r50_1xb8-55e_coco.py": "bbox_head",
}.items())  # fmt: skip
def test_mmdetections_own_detectors(path, key):
    cfg = get_config(f"mmdet::{path}")
    cfg.model.backbone.pop("init_cfg", None)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(cfg.model)
    check_detector(model)
    generator = getattr(model, key).prior_generator
    generator.strides = [(2 * w, 2 * h) for w, h in generator.strides]
    with pytest.raises(ConfigError, match=f"{key}: .*strides="):
        check_detector(model)
    generator.strides = [(w // 2, h // 2) for w, h in generator.strides]
    if "cascade" in path:
        for name in ("bbox", "mask"):
            extractors = getattr(model.roi_head, f"{name}_roi_extractor")
            extractors[0].featmap_strides = [8, 16, 32, 64]
        named = r"bbox_roi_extractor.featmap_strides=.*mask_roi_extractor.featmap_str"
        with pytest.raises(ConfigError, match=named):
            check_detector(model)


class OddNeck(BaseModule):
    """A neck that wants values, which a run without them has not."""

    in_channels = (1, 2, 3)
    out_channels = 16

    def forward(self, inputs):
        return [x / float(x.mean()) for x in inputs]


class Picky(OddNeck):
    """One that uses the last two maps alone, and says the channels of those."""

    in_channels = (256, 512)

    def forward(self, inputs):
        return inputs[-2:]


def test_necks_of_other_kinds():
    model = attn_pool_detector(**retina())
    model.bbox_head.prior_generator.strides = [(1, 1)] * 5
    model.neck = OddNeck()
    with pytest.raises(ConfigError, match=r"in_channels=\[1, 2, 3\]"):
        check_detector(model)
    model.neck.in_channels = (128, 256, 512)
    check_detector(model)  # cannot be told
    model.neck = Picky()
    model.bbox_head.in_channels = [256, 512]
    with pytest.raises(ConfigError, match=r"strides=.*: \[16, 32\]"):
        check_detector(model)
    model.bbox_head.prior_generator.strides = [(16, 16), (32, 32)]
    check_detector(model)


def test_what_is_no_detector_of_maps_passes():
    check_detector(nn.Linear(1, 1))
    model = attn_pool_detector(**retina())
    model.backbone, model.neck = nn.Flatten(), FPN([3, 4], 16, 2)
    check_detector(model)


IMAGE = np.random.default_rng(0).integers(256, size=(96, 128, 3), dtype=np.uint8)


def test_mmdetections_python_interface():
    path, *_ = sorted(CONFIGS.glob("detection/faster_rcnn/*resnet18*_coco.py"))
    cfg = Config.fromfile(path)  # with the key of its pretrained weights
    cfg.model = dict(faster_rcnn(), type="attnpool_mm.AttnPoolDetector")
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=5)
    for step in cfg.test_dataloader.dataset.pipeline:
        if "scale" in step:
            step.scale = (128, 96)
    model = init_detector(deepcopy(cfg), device="cpu", palette="coco")
    assert type(model) is FasterRCNN
    boxes = inference_detector(model, IMAGE).pred_instances.bboxes
    assert len(boxes) == 5
    inferencer = DetInferencer(model=cfg, device="cpu", show_progress=False)
    inferencer.model.load_state_dict(model.state_dict())
    (prediction,) = inferencer(IMAGE)["predictions"]
    torch.testing.assert_close(torch.tensor(prediction["bboxes"]), boxes)


# Objects of two of the 8 classes and of one that is not among them: COCO's number, the
# label, and x, y, width and height
OBJECTS = [
    (10, 7, [10, 10, 30, 20]),
    (5, None, [5, 30, 50, 30]),
    (6, 4, [60, 40, 40, 40]),
]
CATEGORIES = {1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane",
              6: "bus", 7: "train", 8: "truck", 9: "boat",
              10: "traffic light"}  # fmt: skip


def write_coco(folder):
    annotations = [
        dict(id=i, image_id=7, category_id=number, bbox=box, iscrowd=0,
             area=box[2] * box[3])
        for i, (number, _, box) in enumerate(OBJECTS, 1)
    ]  # fmt: skip
    content = dict(
        images=[dict(id=7, file_name="7.jpg", width=128, height=96)],
        annotations=annotations,
        categories=[dict(id=i, name=name) for i, name in CATEGORIES.items()],
    )
    (folder / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (folder / split).mkdir()
        cv2.imwrite(str(folder / split / "7.jpg"), IMAGE)
        path = folder / f"annotations/instances_{split}.json"
        path.write_text(json.dumps(content))


@pytest.mark.parametrize("kind", ["faster_rcnn", "ssd", "yolov3"])
def test_8_classes(kind, tmp_path, monkeypatch):
    write_coco(tmp_path / "coco")
    monkeypatch.setenv("ATTNPOOL_DATA", str(tmp_path))
    path, *_ = sorted(CONFIGS.glob(f"detection/{kind}/*_coco8.py"))
    cfg = Config.fromfile(path)
    head = cfg.model.get("bbox_head") or cfg.model.roi_head.bbox_head
    assert head.num_classes == 8
    with DefaultScope.overwrite_default_scope("mmdet"):
        train = DATASETS.build(cfg.train_dataloader.dataset)
        test = DATASETS.build(cfg.test_dataloader.dataset)
        evaluator = Evaluator(cfg.test_evaluator)
    right = [label for _, label, _ in OBJECTS if label is not None]
    instances = train.get_data_info(0)["instances"]
    assert [i["bbox_label"] for i in instances] == right
    evaluator.dataset_meta = test.metainfo
    sample = test[0]["data_samples"]
    boxes = [box for _, label, box in OBJECTS if label is not None]
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([[x, y, x + w, y + h] for x, y, w, h in boxes]).float(),
        scores=torch.tensor([0.9, 0.8]),
        labels=torch.tensor(right),
    )
    evaluator.process([sample])
    assert evaluator.evaluate(1)["coco/bbox_mAP"] == 1
