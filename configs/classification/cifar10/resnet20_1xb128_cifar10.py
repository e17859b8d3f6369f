# ResNet-20 of basic blocks on CIFAR-10, by a short recipe of our own, 10 epochs
_base_ = [
    "../../_base_/models/resnet164_cifar.py",
    "../../_base_/datasets/cifar10_bs128.py",
    "../../_base_/schedules/digits_10e.py",
    "mmpretrain::_base_/default_runtime.py",
]

model = dict(backbone=dict(depth=20, block="basic"))

auto_scale_lr = dict(base_batch_size=128)
