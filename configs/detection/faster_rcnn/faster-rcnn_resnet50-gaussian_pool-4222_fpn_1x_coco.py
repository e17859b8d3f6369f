_base_ = "./faster-rcnn_keyword-resnet50-4222_fpn_1x_coco.py"

model = dict(backbone=dict(arch="resnet50-gaussian_pool-4222"))
