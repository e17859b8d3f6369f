_base_ = "./keyword-mobilenet_in1k.py"

model = dict(backbone=dict(arch="mobilenet-lip-1222121"))
