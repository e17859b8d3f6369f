_base_ = "./resnet18-nlp-stage-end_1xb8_stl10.py"

model = dict(backbone=dict(arch="mobilenet_v2-lip-1222121"))
