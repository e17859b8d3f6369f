# ImageNet by MMPretrain's recipe for ResNets, 100 epochs of 8x32. Another network:
# --cfg-options model.backbone.arch=KEYWORD
_base_ = [
    "../../_base_/models/keyword.py",
    "../../_base_/datasets/imagenet_bs32.py",
    "mmpretrain::_base_/schedules/imagenet_bs256.py",
    "mmpretrain::_base_/default_runtime.py",
]

model = dict(head=dict(num_classes=1000))
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
