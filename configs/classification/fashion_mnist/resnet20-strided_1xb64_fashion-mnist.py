# ResNet-20 of basic blocks on Fashion-MNIST, by a short recipe of our own, 10 epochs.
# Another pool: --cfg-options model.backbone.pool_cfg.type=LocalImportancePool2d
_base_ = [
    "../../_base_/models/resnet164_cifar.py",
    "../../_base_/datasets/fashion_mnist_bs64.py",
    "../../_base_/schedules/digits_10e.py",
    "mmpretrain::_base_/default_runtime.py",
]

model = dict(backbone=dict(depth=20, block="basic", in_channels=1))

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
