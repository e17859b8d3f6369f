_base_ = "./keyword-resnet_in1k.py"

model = dict(backbone=dict(arch="resnet18-nlp_headfix2_nowin-1222"))
