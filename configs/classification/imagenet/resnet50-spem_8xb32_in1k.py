_base_ = [
    "mmpretrain::_base_/models/resnet50.py",
    "../../_base_/datasets/imagenet_bs32.py",
    "mmpretrain::_base_/schedules/imagenet_bs256.py",
    "mmpretrain::_base_/default_runtime.py",
]

model = dict(
    backbone=dict(type="attnpool_mm.AttnPoolResNet", attention_cfg=dict(type="SPEM"))
)
optim_wrapper = dict(constructor="attnpool_mm.SPEMOptimWrapperConstructor")
custom_hooks = [dict(type="attnpool_mm.SPEMLoggerHook")]
