_base_ = "./ssdlite_mobilenetv2-half-strided_fpn_1xb4-6e_fashion-coco.py"

model = dict(backbone=dict(attention_cfg=dict(type="SPEM")))
optim_wrapper = dict(constructor="attnpool_mm.SPEMOptimWrapperConstructor")
custom_hooks = [dict(type="attnpool_mm.SPEMLoggerHook")]
