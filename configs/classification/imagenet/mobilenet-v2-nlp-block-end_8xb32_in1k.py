# ImageNet by MMPretrain's recipe for MobileNetV2, 300 epochs of 8x32. Another network:
# --cfg-options model.backbone.arch=KEYWORD
_base_ = [
    "../../_base_/models/keyword.py",
    "../../_base_/datasets/imagenet_bs32_pil_resize.py",
    "mmpretrain::_base_/schedules/imagenet_bs256_epochstep.py",
    "mmpretrain::_base_/default_runtime.py",
]

model = dict(
    backbone=dict(arch="mobilenet_v2-nlp_headfix2_nowin-1222121"),
    head=dict(num_classes=1000),
)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
