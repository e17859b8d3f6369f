# MMDetection's own ResNet-50, with SPEM as its plugin.
_base_ = [
    "mmdet::_base_/models/faster-rcnn_r50_fpn.py",
    "../../_base_/datasets/coco_detection.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]

spem = dict(type="attnpool_mm.SPEM")
model = dict(
    backbone=dict(
        plugins=[dict(cfg=spem, stages=(True,) * 4, position="after_conv3")],
        frozen_stages=0,  # the first stage's attention starts fresh and has to learn
    )
)
optim_wrapper = dict(constructor="attnpool_mm.SPEMOptimWrapperConstructor")
custom_hooks = [dict(type="attnpool_mm.SPEMLoggerHook")]
