# STL-10 at 128x128, by the recipe of the authors of self-attentive pooling. Another
# network: --cfg-options model.backbone.arch=KEYWORD
_base_ = [
    "../../_base_/datasets/stl10_bs8.py",
    "../../_base_/schedules/stl10_300e.py",
    "mmpretrain::_base_/default_runtime.py",
]

# the head's in_channels are the backbone's: AttnPoolClassifier fills them in
model = dict(
    type="attnpool_mm.AttnPoolClassifier",
    backbone=dict(
        type="attnpool_mm.AttnPoolBackbone", arch="resnet18-nlp_headfix2_nowin-1222"
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
        topk=(1, 5),
    ),
)

# The authors report the best epoch on the test images, and so choose by them.
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best="accuracy/top1"))
