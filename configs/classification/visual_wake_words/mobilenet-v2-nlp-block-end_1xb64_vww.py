# Visual Wake Words at 96x96, by a recipe of our own, 60 epochs. Another network:
# --cfg-options model.backbone.arch=KEYWORD
_base_ = [
    "../../_base_/models/keyword.py",
    "../../_base_/datasets/visual_wake_words_bs64.py",
    "../../_base_/schedules/visual_wake_words_60e.py",
    "mmpretrain::_base_/default_runtime.py",
]

model = dict(
    backbone=dict(arch="mobilenet_v2-nlp_headfix2_nowin-1222121"),
    head=dict(num_classes=2),
)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
