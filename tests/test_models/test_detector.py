"""Necks follow their backbones, and strides that do not fit are said."""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.models import FPN, FasterRCNN, ResNet
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.hub import get_config
from mmengine.model import BaseModule
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.structures import InstanceData
from torch import nn

from attnpool_mm.models.detector import AttnPoolDetector, check_detector
from attnpool_mm.utils.errors import ConfigError
from attnpool_mm.models.heads import SSDHead

CONFIGS = Path(__file__).parents[1] / "configs/detection"
YOLO = "_8xb24-320-300e_coco.py"


@cache
def read(path):
    return get_config(path) if "::" in path else Config.fromfile(CONFIGS / path)


def load(path, arch=None):
    cfg = deepcopy(read(path))
    cfg.model.backbone.pop("init_cfg", None)  # pretrained weights are not here
    if arch is not None:
        cfg.model.backbone.arch = arch
    return cfg


def build(cfg):
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(cfg.model)


# The config of each set of strides, and a network for it that is cheap to run
STRIDE_SETS = [
    ("faster_rcnn/faster-rcnn_keyword-resnet18_fpn_1x_coco.py", "resnet18-maxp-1222"),
    ("faster_rcnn/faster-rcnn_keyword-resnet50-2222_fpn_1x_coco.py",
     "resnet50-maxp-2222"),
    ("faster_rcnn/faster-rcnn_keyword-resnet50-4222_fpn_1x_coco.py",
     "resnet18-skip-4222"),
    ("ssd/ssdlite_keyword-mobilenet_20e_coco.py", "mobilenet_v2-maxp-1222121"),
    ("ssd/ssdlite_keyword-mobilenet-2222121_20e_coco.py", "mobilenet-maxp-2222121"),
    ("ssd/ssdlite_keyword-mobilenet-4222121_20e_coco.py", "mobilenet-skip-4222121"),
    ("ssd/ssdlite_keyword-resnet18_20e_coco.py", "resnet18-skip-1222"),
    ("yolov3/yolov3_keyword-mobilenet" + YOLO, "mobilenet-skip-1222121"),
    ("yolov3/yolov3_keyword-resnet18" + YOLO, "resnet50-maxp-1222"),
    ("yolov3/yolov3_keyword-resnet18-2222" + YOLO, "resnet18-skip-2222"),
    ("yolov3/yolov3_keyword-resnet18-4222" + YOLO, "resnet18-maxp-4222"),
]  # fmt: skip
FASTER_RCNN = STRIDE_SETS[0][0]


@pytest.mark.parametrize("path, arch", STRIDE_SETS)
def test_the_configs_strides_are_those_of_real_maps(path, arch):
    side = 320 if "ssd" in path else 256
    cfg = load(path, arch)
    model = build(cfg).eval()
    with torch.no_grad():
        given = model.backbone(torch.rand(1, 3, side, side))
        maps = model.neck(given)
    channels = [m.shape[1] for m in given]
    sides = [m.shape[-1] for m in maps]
    if "faster" in path:
        assert model.neck.in_channels == channels
        generator = model.rpn_head.prior_generator
        # one pixel's anchors, of three shapes, in all levels as large as with 1222
        for i, anchors in enumerate(generator.base_anchors):
            width, height = (anchors[:, 2:] - anchors[:, :2]).T
            torch.testing.assert_close(width * height, torch.full((3,), 4.0 ** (5 + i)))
        extractor = model.roi_head.bbox_roi_extractor
        assert extractor.featmap_strides == [side // m for m in sides[:4]]
        # A RoI of 112 to 224 pixels is read where its 14 to 28 pixels are, or in
        # the finest map
        level = extractor.map_roi_levels(torch.tensor([[0, 0, 0, 223.0, 223.0]]), 4)
        assert extractor.featmap_strides[level] == max(8, 256 // sides[0])
    else:
        generator = model.bbox_head.prior_generator
    if "yolo" in path:
        assert model.neck.in_channels == channels[::-1]
        assert model.bbox_head.featmap_strides == [s for s, _ in generator.strides]
    if "ssd" in path:
        assert model.bbox_head.in_channels == [*channels, 512, 256, 256, 128]
    assert generator.strides == [(round(side / m),) * 2 for m in sides]
    # Images are padded until every map of the backbone divides them exactly.
    divisor = model.data_preprocessor.pad_size_divisor
    assert "ssd" in path or divisor % (side // given[-1].shape[-1]) == 0


def retina():
    return dict(
        backbone=dict(
            type="attnpool_mm.AttnPoolBackbone",
            arch="resnet18-lip-1222",
            out_indices=(1, 2, 3),
        ),
        neck=dict(type="FPN", in_channels=None, out_channels=16, num_outs=5),
        bbox_head=dict(
            type="RetinaHead",
            num_classes=2,
            in_channels=16,
            feat_channels=16,
            anchor_generator=dict(
                type="AnchorGenerator",
                ratios=[1.0],
                scales=[4],
                strides=[8, 16, 32, 64, 128],
            ),
        ),
    )


@pytest.mark.parametrize("key, value, message", [
    ("neck.in_channels", [256, 512, 1024],
     r"neck: in_channels=\[256, 512, 1024\]: AttnPoolResNet gives \[128, 256, 512\]"),
    ("neck.in_channels", [64, 128, 256, 512, 512, 512, 512],
     r"AttnPoolResNet gives \[128, 256, 512\]"),
    ("bbox_head.in_channels", 32,
     r"bbox_head: in_channels=32: it gets maps of \[16, 16, 16, 16, 16\] channels"),
    ("backbone.arch", "resnet18-lip-2222",
     r"bbox_head: anchor_generator.strides=\[8, 16, 32, 64, 128\]: "
     r"\[16, 32, 64, 128, 256\] is right"),
    ("bbox_head.anchor_generator.strides", [8, 16, 32, 64],
     r"strides=\[8, 16, 32, 64\]: \[8, 16, 32, 64, 128\] is right"),
    ("bbox_head.anchor_generator.strides", [(8, 8), (16, 16), (32, 64), 64, 128],
     r"strides=\[8, 16, \(32, 64\), 64, 128\]: \[8, 16, 32, 64, 128\] is right"),
    ("detector", "RetinaNett", "detector='RetinaNett': .* did you mean 'RetinaNet'?"),
    ("detector", "FPN", "detector='FPN': the name of a detector of MMDetection"),
    ("roi_head", {}, "RetinaNet has no argument roi_head"),
    ("backbone", ResNet(18), "in_channels must be given, since ResNet has no out_chan"),
], ids=str)  # fmt: skip
def test_what_does_not_fit_is_one_line(key, value, message):
    cfg = dict(detector="RetinaNet", **retina())
    *parents, last = key.split(".")
    part = cfg
    for parent in parents:
        part = part[parent]
    part[last] = value
    with pytest.raises(ConfigError, match=message) as caught:
        AttnPoolDetector(**cfg)
    assert "\n" not in str(caught.value)


def test_strides_may_be_off_by_a_fifth():
    cfg = retina()
    cfg["bbox_head"]["anchor_generator"]["strides"] = [8, 16, 32, 64, 108]
    AttnPoolDetector("RetinaNet", **cfg)
    for strides in ([8, 16, 32, 64, 105], [10, 20, 40, 80, 160]):
        cfg["bbox_head"]["anchor_generator"]["strides"] = strides
        with pytest.raises(ConfigError, match="8, 16, 32, 64, 128.* is right"):
            AttnPoolDetector("RetinaNet", **cfg)


def test_a_pool_rounds_down_where_a_convolution_rounds_up():
    path = "ssd/ssdlite_keyword-mobilenet-4222121_20e_coco.py"
    right = r"\[64, 160, 320, 320, 320, 320\] is right"
    with pytest.raises(ConfigError, match=right):
        build(load(path, "mobilenet_v2-maxp-4222121"))


def test_a_list_of_necks():
    cfg = retina()
    cfg["neck"] = [cfg["neck"], dict(type="BFP", in_channels=16, num_levels=5)]
    cfg["bbox_head"]["in_channels"] = None
    model = AttnPoolDetector("RetinaNet", **cfg)
    assert model.neck[0].in_channels == [128, 256, 512]
    assert model.bbox_head.in_channels == 16
    assert cfg["neck"][0]["in_channels"] is None  # the config stays as it is


def test_a_head_without_a_neck():
    backbone = dict(
        type="attnpool_mm.AttnPoolBackbone",
        arch="mobilenet-skip-1222121",
        out_indices=(4, 6),
    )
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
    cfg = dict(backbone=backbone, bbox_head=head)
    model = AttnPoolDetector("SingleStageDetector", **cfg)
    assert model.bbox_head.in_channels == [96, 320]
    head["in_channels"] = [96, 160]
    message = r"bbox_head: in_channels=\[96, 160\]: it gets maps of \[96, 320\] chan"
    with pytest.raises(ConfigError, match=message):
        AttnPoolDetector("SingleStageDetector", **cfg)


def test_another_keyword_in_a_config_of_two_stages():
    cfg = load(FASTER_RCNN, "resnet18-lip-2222")
    with pytest.raises(ConfigError) as caught:
        build(cfg)
    assert str(caught.value) == (
        "rpn_head: anchor_generator.strides=[4, 8, 16, 32, 64]: [8, 16, 32, 64, 128] "
        "is right; roi_head: bbox_roi_extractor.featmap_strides=[4, 8, 16, 32]: "
        "[8, 16, 32, 64] is right, since the backbone is AttnPoolResNet with outputs "
        "of strides [8, 16, 32, 64]"
    )


@pytest.mark.parametrize("path, changes, message", [
    ("ssd/ssdlite_keyword-mobilenet_20e_coco.py",
     {"backbone.arch": "mobilenet-skip-2222121"},
     r"\[32, 64, 107, 160, 320, 320\] is right"),
    ("ssd/ssdlite_keyword-mobilenet_20e_coco.py", {"backbone.out_indices": (3, 4, 7)},
     r"neck: out_channels=.*: they begin with those of .*\[64, 96, 1280\]"),
    ("ssd/ssdlite_keyword-mobilenet_20e_coco.py",
     {"neck.out_channels": [96, 1280, 512, 256, 256]},
     r"neck: level_strides=\[2, 2, 2, 2\] for out_channels=.* those of .*\[96, 1280\]"),
    ("ssd/ssdlite_keyword-mobilenet_20e_coco.py", {"neck.level_paddings": [1, 1]},
     r"neck: level_paddings=\[1, 1\] for"),
    ("ssd/ssdlite_keyword-mobilenet_20e_coco.py", {"neck.level_strides": 2},
     "neck: level_strides=2 for"),
    ("ssd/ssdlite_keyword-mobilenet_20e_coco.py", {"neck.type": "Nope"},
     "neck: type='Nope': the name of a neck of MMDetection"),
    ("yolov3/yolov3_keyword-resnet18" + YOLO, {"backbone.arch": "resnet18-lip-1212"},
     r"halve from one to the next; the strides of AttnPoolResNet are \[8, 8, 16\]"),
    ("yolov3/yolov3_keyword-resnet18" + YOLO,
     {"neck.in_channels": [128, 256, 512]}, r"gives \[512, 256, 128\], the last first"),
    ("yolov3/yolov3_keyword-resnet18" + YOLO,
     {"bbox_head.featmap_strides": [8, 16, 32]},
     r"bbox_head: featmap_strides=\[8, 16, 32\]: \[32, 16, 8\] is right"),
], ids=str)  # fmt: skip
def test_ssd_and_yolo_that_do_not_fit(path, changes, message):
    cfg = load(path)
    cfg.merge_from_dict({f"model.{key}": value for key, value in changes.items()})
    with pytest.raises(ConfigError, match=message):
        build(cfg)


CASCADE = "mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py"
PLAIN = {
    CASCADE: r"rpn_head: .*strides=\[8, 16, 32, 64, 128\]: \[4, 8, 16, 32, 64\] is",
    "mmdet::faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco.py":
        r"rpn_head: anchor_generator.strides=\[32\]: \[16\] is right",
    "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py":
        r"bbox_head: strides=.*: \[8, 16, 32, 64, 128\] is right",
    "mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py":
        r"bbox_head: anchor_generator.strides=\[32, 64, 128, 214, 320, 640\]: \[",
}  # fmt: skip


@pytest.mark.parametrize("path", PLAIN)
def test_mmdetections_detectors_with_our_backbones(path):
    cfg = load(path)
    cfg.model.backbone.type = f"attnpool_mm.AttnPool{cfg.model.backbone.type}"
    model = build(cfg)
    check_detector(model)
    head = model.rpn_head if "rcnn" in path else model.bbox_head
    generator = head.prior_generator
    generator.strides = [(2 * w, 2 * h) for w, h in generator.strides]
    with pytest.raises(ConfigError, match=PLAIN[path]):
        check_detector(model)


def test_roi_extractors_of_a_cascade_with_masks():
    cfg = load(CASCADE)
    cfg.model.backbone.type = "attnpool_mm.AttnPoolResNet"
    for name in ("bbox", "mask"):
        cfg.model.roi_head[f"{name}_roi_extractor"].featmap_strides = [8, 16, 32, 64]
    message = (
        r"roi_head: bbox_roi_extractor.featmap_strides=\[8, 16, 32, 64\]: "
        r"\[4, 8, 16, 32\] is right; roi_head: mask_roi_extractor"
    )
    with pytest.raises(ConfigError, match=message):
        check_detector(build(cfg))


class OddNeck(BaseModule):
    """A neck that wants values, which the meta device has not."""

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
    model = AttnPoolDetector("RetinaNet", **retina())
    model.bbox_head.prior_generator.strides = [(1, 1)] * 5
    model.neck = OddNeck()
    with pytest.raises(ConfigError, match=r"in_channels=\[1, 2, 3\]: AttnPoolResNet"):
        check_detector(model)
    model.neck.in_channels = (128, 256, 512)
    check_detector(model)  # cannot be told
    model.neck = Picky()
    model.bbox_head.in_channels = [256, 512]
    with pytest.raises(ConfigError, match=r"strides=.*: \[16, 32\] is right"):
        check_detector(model)
    model.bbox_head.prior_generator.strides = [(16, 16), (32, 32)]
    check_detector(model)


def test_other_models_pass():
    check_detector(nn.Linear(1, 1))
    model = AttnPoolDetector("RetinaNet", **retina())
    model.backbone = ResNet(18)  # says neither channels nor strides
    model.neck = FPN([3, 4], 16, 2)
    check_detector(model)


IMAGE = np.random.default_rng(0).integers(256, size=(96, 128, 3), dtype=np.uint8)


def test_mmdetections_python_interface():
    cfg = deepcopy(read(FASTER_RCNN))  # with the key of its pretrained weights
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


@pytest.mark.parametrize("path", [
    "faster_rcnn/faster-rcnn_keyword-resnet18_fpn_1x_coco8.py",
    "ssd/ssdlite_keyword-resnet18_20e_coco8.py",
    "yolov3/yolov3_keyword-mobilenet_8xb24-320-300e_coco8.py",
])  # fmt: skip
def test_8_classes(path, tmp_path, monkeypatch):
    write_coco(tmp_path / "coco")
    monkeypatch.setenv("ATTNPOOL_DATA", str(tmp_path))
    cfg = Config.fromfile(CONFIGS / path)
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
