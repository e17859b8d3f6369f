# Exactly average pooling in layer2, as the authors have it: docs/pools.md, the trap
_base_ = "./faster-rcnn_keyword-resnet18_fpn_1x_coco.py"

model = dict(backbone=dict(arch="resnet18-nlp_reduced-1222"))
