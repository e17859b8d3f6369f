_base_ = "./faster-rcnn_resnet18-half-strided_fpn_1xb4-4e_fashion-coco.py"

model = dict(backbone=dict(pool_cfg=dict(type="LocalImportancePool2d")))
