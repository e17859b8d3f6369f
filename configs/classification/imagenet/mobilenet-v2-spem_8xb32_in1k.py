_base_ = [
    "mmpretrain::_base_/models/mobilenet_v2_1x.py",
    "../../_base_/datasets/imagenet_bs32_pil_resize.py",
    "mmpretrain::_base_/schedules/imagenet_bs256_epochstep.py",
    "mmpretrain::_base_/default_runtime.py",
]

model = dict(
    backbone=dict(
        type="attnpool_mm.AttnPoolMobileNetV2", attention_cfg=dict(type="SPEM")
    )
)
optim_wrapper = dict(constructor="attnpool_mm.SPEMOptimWrapperConstructor")
custom_hooks = [dict(type="attnpool_mm.SPEMLoggerHook")]
