_base_ = "./resnet18-nlp-stage-end_1xb8_stl10.py"

model = dict(backbone=dict(arch="mobilenet-skip-1222121"))
