_base_ = "./keyword_stl10.py"

model = dict(backbone=dict(arch="mobilenet-nlp-1222121"))
