# LIP-ResNet-50 by the recipe of its authors: ImageNet, 90 epochs of 8x32. Their
# checkpoint: tools/model_converters/convert_authors_checkpoint.py --arch lip_resnet50
_base_ = [
    "mmpretrain::_base_/models/resnet50.py",
    "../../_base_/datasets/imagenet_bs32_pil_resize.py",
    "mmpretrain::_base_/schedules/imagenet_bs256.py",
    "mmpretrain::_base_/default_runtime.py",
]

model = dict(backbone=dict(type="attnpool_mm.LIPResNet"))
param_scheduler = dict(milestones=[30, 60, 80])
train_cfg = dict(max_epochs=90)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
