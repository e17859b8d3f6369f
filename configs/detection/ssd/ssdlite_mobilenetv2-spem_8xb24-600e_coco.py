_base_ = "../../_base_/models/ssdlite_coco.py"

model = dict(
    backbone=dict(
        type="attnpool_mm.AttnPoolMobileNetV2", attention_cfg=dict(type="SPEM")
    )
)
optim_wrapper = dict(constructor="attnpool_mm.SPEMOptimWrapperConstructor")
custom_hooks = [*_base_.custom_hooks, dict(type="attnpool_mm.SPEMLoggerHook")]
