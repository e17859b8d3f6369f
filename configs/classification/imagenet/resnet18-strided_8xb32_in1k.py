_base_ = "./resnet18-nlp-stage-end_8xb32_in1k.py"

model = dict(backbone=dict(arch="resnet18-skip-1222"))
