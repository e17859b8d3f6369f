# STL-10 at 128x128, by the recipe of the authors of self-attentive pooling. Another
# network: --cfg-options model.backbone.arch=KEYWORD
_base_ = [
    "../../_base_/models/keyword.py",
    "../../_base_/datasets/stl10_bs8.py",
    "../../_base_/schedules/stl10_300e.py",
    "mmpretrain::_base_/default_runtime.py",
]

# The authors report the best epoch on the test images, and so choose by them.
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best="accuracy/top1"))
