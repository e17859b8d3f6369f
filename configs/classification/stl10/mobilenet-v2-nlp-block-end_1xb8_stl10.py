_base_ = "./resnet18-nlp-stage-end_1xb8_stl10.py"

model = dict(backbone=dict(arch="mobilenet_v2-nlp_headfix2_nowin-1222121"))
