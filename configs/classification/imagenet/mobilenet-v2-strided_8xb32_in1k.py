_base_ = "./mobilenet-v2-nlp-block-end_8xb32_in1k.py"

model = dict(backbone=dict(arch="mobilenet-skip-1222121"))
