_base_ = "./resnet164_1xb128_cifar10.py"

model = dict(backbone=dict(attention_cfg=dict(type="SPEM")))
optim_wrapper = dict(constructor="attnpool_mm.SPEMOptimWrapperConstructor")
custom_hooks = [dict(type="attnpool_mm.SPEMLoggerHook")]
