# In layer2 the attention cancels, as the authors have it: docs/pools.md, the trap
_base_ = "./faster-rcnn_keyword-resnet18_fpn_1x_coco.py"

model = dict(backbone=dict(arch="dyresnet18-mixp_reduced-1222"))
