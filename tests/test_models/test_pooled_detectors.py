"""Pooled backbones in MMDetection's detectors: a training step, a prediction."""

from functools import partial

import pytest
import torch
from config_runs import RepeatedRandomFills
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.hub import get_config
from mmengine.registry import DefaultScope

from attnpool_mm.models import check_detector, find_shrinkings
from attnpool_mm.pooling import LocalImportancePool2d

FOUR, THREE = dict(out_indices=(0, 1, 2, 3)), dict(out_indices=(1, 2, 3))
RESNET18 = dict(type="ResNet", depth=18)
slow = partial(pytest.param, marks=pytest.mark.slow)
# Config, the backbone if it is not the config's own, and channels of its outputs
DETECTORS = [
    (
        "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
        dict(type="ResNeXt", depth=50, groups=32, base_width=4, **FOUR),
        [256, 512, 1024, 2048],
    ),
    (
        "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
        dict(type="RegNet", arch="regnetx_400mf", **FOUR),
        [32, 64, 160, 384],
    ),
    (
        "retinanet/retinanet_r18_fpn_1x_coco.py",
        dict(type="MobileNetV2", widen_factor=0.5, out_indices=(1, 2, 4, 6)),
        [16, 16, 48, 160],
    ),
    (
        "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
        dict(RESNET18, **FOUR),
        [64, 128, 256, 512],
    ),
    # tests/test_configs.py trains our own configs of these
    slow("detr/detr_r50_8xb2-150e_coco.py", None, [2048]),
    slow("yolox/yolox_tiny_8xb8-300e_coco.py", None, [96, 192, 384]),
    slow("rtmdet/rtmdet_tiny_8xb32-300e_coco.py", None, [96, 192, 384]),
]


@pytest.mark.parametrize("path, backbone, channels", DETECTORS)
def test_detector(path, backbone, channels):
    model = get_config(f"mmdet::{path}").model
    backbone = backbone or model.backbone.to_dict()
    backbone.pop("init_cfg", None)
    model.data_preprocessor.pop("batch_augments", None)  # it asks the runner's hub
    model.backbone = dict(
        type="attnpool_mm.PooledBackbone",
        backbone=backbone,
        pool_cfg=dict(type="LocalImportancePool2d"),
    )
    model.neck.in_channels = channels
    with DefaultScope.overwrite_default_scope("mmdet"):
        with RepeatedRandomFills():
            plain, detector = MODELS.build(backbone), MODELS.build(model)
        assert list(detector.backbone.out_channels) == channels
        check_detector(detector)
        pools = [m for m in detector.modules() if isinstance(m, LocalImportancePool2d)]
        assert len(pools) == sum(not p.is_stem for p in find_shrinkings(plain))

        data = demo_mm_inputs(2, (3, 128, 128), num_classes=4)
        detector.train()
        losses = detector.forward(**detector.data_preprocessor(data, True), mode="loss")
        loss, _ = detector.parse_losses(losses)
        loss.backward()
        assert all(pool.conv.weight.grad.abs().max() > 0 for pool in pools)

        detector.eval()
        with torch.no_grad():
            predictions = detector.forward(
                **detector.data_preprocessor(data, False), mode="predict"
            )
    assert all(p.pred_instances.bboxes.shape[1] == 4 for p in predictions)
