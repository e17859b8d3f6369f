# ResNet-18 with self-attentive pooling on scikit-learn's handwritten digits.
_base_ = [
    "../../_base_/datasets/digits_bs64.py",
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

max_epochs = 10
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=1, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        begin=1,
        end=max_epochs,
        T_max=max_epochs - 1,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(logger=dict(interval=10))
