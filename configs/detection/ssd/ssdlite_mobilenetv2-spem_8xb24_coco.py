# 320x320 pixels, from scratch.
_base_ = "mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py"

# MMDetection's own SSD head (3.3 to 3.5) cannot predict
custom_imports = dict(imports=["attnpool_mm.heads"])
model = dict(
    backbone=dict(
        type="attnpool_mm.AttnPoolMobileNetV2", attention_cfg=dict(type="SPEM")
    ),
    bbox_head=dict(type="attnpool_mm.SSDHead"),
)
optim_wrapper = dict(constructor="attnpool_mm.SPEMOptimWrapperConstructor")
custom_hooks = [*_base_.custom_hooks, dict(type="attnpool_mm.SPEMLoggerHook")]
