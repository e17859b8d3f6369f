_base_ = "mmpretrain::resnet/resnet50_8xb32_in1k.py"

model = dict(
    backbone=dict(type="attnpool_mm.AttnPoolResNet", attention_cfg=dict(type="SPEM"))
)
optim_wrapper = dict(constructor="attnpool_mm.SPEMOptimWrapperConstructor")
custom_hooks = [dict(type="attnpool_mm.SPEMLoggerHook")]
