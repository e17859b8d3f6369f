_base_ = "../../_base_/models/yolov3_coco.py"

model = dict(
    backbone=dict(
        type="attnpool_mm.AttnPoolMobileNetV2", attention_cfg=dict(type="SPEM")
    )
)
optim_wrapper = dict(constructor="attnpool_mm.SPEMOptimWrapperConstructor")
custom_hooks = [dict(type="attnpool_mm.SPEMLoggerHook")]
