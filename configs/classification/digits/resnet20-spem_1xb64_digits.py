# ResNet-20 of basic blocks with SPEM on scikit-learn's handwritten digits.
_base_ = "./resnet18-nlp-stage-end_1xb64_digits.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="attnpool_mm.AttnPoolResNetCIFAR",
        depth=20,
        block="basic",
        attention_cfg=dict(type="SPEM"),
    ),
    head=dict(in_channels=64, loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1)),
)

# SPEM starts with its blocks nearly closed, y = 0.03 x: Adam opens them in few epochs
max_epochs = 15
optim_wrapper = dict(
    constructor="attnpool_mm.SPEMOptimWrapperConstructor",
    optimizer=dict(_delete_=True, type="Adam", lr=0.01),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=2, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        begin=2,
        end=max_epochs,
        T_max=max_epochs - 2,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
custom_hooks = [dict(type="attnpool_mm.SPEMLoggerHook")]
