_base_ = "./ssdlite_mobilenetv2-half-strided_fpn_1xb4-6e_fashion-coco.py"

model = dict(backbone=dict(pool_cfg=dict(type="LocalImportancePool2d")))
