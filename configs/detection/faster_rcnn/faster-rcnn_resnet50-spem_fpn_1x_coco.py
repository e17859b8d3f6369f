_base_ = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"

model = dict(
    backbone=dict(
        type="attnpool_mm.AttnPoolResNet",
        attention_cfg=dict(type="SPEM"),
        frozen_stages=0,  # the first stage's attention starts fresh and has to learn
    )
)
optim_wrapper = dict(constructor="attnpool_mm.SPEMOptimWrapperConstructor")
custom_hooks = [dict(type="attnpool_mm.SPEMLoggerHook")]
