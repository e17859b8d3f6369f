# ResNet-18 with self-attentive pooling on scikit-learn's handwritten digits.
_base_ = [
    "../../_base_/datasets/digits_bs64.py",
    "../../_base_/schedules/digits_10e.py",
    "mmpretrain::_base_/default_runtime.py",
]

model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="attnpool_mm.AttnPoolResNet",
        depth=18,
        pool_cfg=dict(type="SelfAttentivePool2d", num_heads=2, normalize=False),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=512,
        loss=dict(type="CrossEntropyLoss"),
    ),
)

default_hooks = dict(logger=dict(interval=10))
