_base_ = "./mobilenet-v2-nlp-block-end_1xb64_vww.py"

model = dict(backbone=dict(arch="mobilenet-skip-1222121"))
