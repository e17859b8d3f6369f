_base_ = "./keyword-mobilenet_in1k.py"

model = dict(backbone=dict(arch="mobilenet-nlp_headfix2_nowin-1222121"))
