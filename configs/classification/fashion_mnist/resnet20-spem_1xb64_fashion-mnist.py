_base_ = "./resnet20-strided_1xb64_fashion-mnist.py"

model = dict(backbone=dict(attention_cfg=dict(type="SPEM")))
optim_wrapper = dict(constructor="attnpool_mm.SPEMOptimWrapperConstructor")
custom_hooks = [dict(type="attnpool_mm.SPEMLoggerHook")]
