_base_ = "./lip-resnet50_8xb32_in1k.py"

model = dict(backbone=dict(depth=101))
