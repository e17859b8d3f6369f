# MMDetection's own ResNet-50, with SPEM as its plugin.
_base_ = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"

spem = dict(type="attnpool_mm.SPEM")
model = dict(
    backbone=dict(
        plugins=[dict(cfg=spem, stages=(True,) * 4, position="after_conv3")],
        frozen_stages=0,  # the first stage's attention starts fresh and has to learn
    )
)
optim_wrapper = dict(constructor="attnpool_mm.SPEMOptimWrapperConstructor")
custom_hooks = [dict(type="attnpool_mm.SPEMLoggerHook")]
