_base_ = "./faster-rcnn_keyword-resnet18_fpn_1x_coco.py"

model = dict(backbone=dict(arch="dyresnet18-lip-1222"))
