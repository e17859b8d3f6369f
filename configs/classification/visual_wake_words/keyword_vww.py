# Visual Wake Words at 96x96. Another network: --cfg-options
# model.backbone.arch=KEYWORD
_base_ = [
    "../../_base_/datasets/visual_wake_words_bs64.py",
    "mmpretrain::_base_/default_runtime.py",
]

# the head's in_channels are the backbone's: AttnPoolClassifier fills them in
model = dict(
    type="attnpool_mm.AttnPoolClassifier",
    backbone=dict(
        type="attnpool_mm.AttnPoolBackbone",
        arch="mobilenet_v2-nlp_headfix2_nowin-1222121",
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=2,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
        topk=(1,),
    ),
)

# A schedule of our own, not a published one: 60 epochs from scratch, the learning rate
# falling as a cosine.
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.0125, momentum=0.9, weight_decay=4e-5)
)
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=True, T_max=60)
train_cfg = dict(by_epoch=True, max_epochs=60, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
