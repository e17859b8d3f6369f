_base_ = "./resnet18-nlp-stage-end_1xb8_stl10.py"

model = dict(backbone=dict(arch="resnet18-skip-1222"))
