_base_ = "./keyword-resnet_in1k.py"

model = dict(backbone=dict(arch="resnet50-skip-1222"))
