# CIFAR-10, with the augmentation and the mean of the authors of self-attentive pooling
# and MMPretrain's schedule for CIFAR, 200 epochs. Another network:
# --cfg-options model.backbone.arch=KEYWORD
_base_ = [
    "../../_base_/models/keyword.py",
    "../../_base_/datasets/cifar10_bs128.py",
    "mmpretrain::_base_/schedules/cifar10_bs128.py",
    "mmpretrain::_base_/default_runtime.py",
]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
