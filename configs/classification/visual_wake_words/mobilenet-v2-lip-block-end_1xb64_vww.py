_base_ = "./mobilenet-v2-nlp-block-end_1xb64_vww.py"

model = dict(backbone=dict(arch="mobilenet_v2-lip-1222121"))
