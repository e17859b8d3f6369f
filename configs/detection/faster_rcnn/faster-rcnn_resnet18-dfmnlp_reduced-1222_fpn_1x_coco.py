# In layer2 the attention cancels while the offsets are 0: docs/pools.md, the trap
_base_ = "./faster-rcnn_keyword-resnet18_fpn_1x_coco.py"

model = dict(backbone=dict(arch="resnet18-dfmnlp_reduced-1222"))
