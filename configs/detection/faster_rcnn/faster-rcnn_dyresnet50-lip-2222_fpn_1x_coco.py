_base_ = "./faster-rcnn_keyword-resnet50-2222_fpn_1x_coco.py"

model = dict(backbone=dict(arch="dyresnet50-lip-2222"))
