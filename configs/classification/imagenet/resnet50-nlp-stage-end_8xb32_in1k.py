_base_ = "./resnet18-nlp-stage-end_8xb32_in1k.py"

model = dict(backbone=dict(arch="resnet50-nlp_headfix2_nowin-1222"))
