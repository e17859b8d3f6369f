# MNIST at 32x32, by a short recipe of our own, 10 epochs. Another network:
# --cfg-options model.backbone.arch=KEYWORD
_base_ = [
    "../../_base_/models/keyword.py",
    "../../_base_/datasets/mnist_bs64.py",
    "../../_base_/schedules/digits_10e.py",
    "mmpretrain::_base_/default_runtime.py",
]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
