_base_ = "./mobilenet-v2-nlp-block-end_8xb32_in1k.py"

model = dict(backbone=dict(arch="mobilenet_v2-lip-1222121"))
