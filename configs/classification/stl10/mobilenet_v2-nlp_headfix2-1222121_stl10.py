_base_ = "./keyword_stl10.py"

model = dict(backbone=dict(arch="mobilenet_v2-nlp_headfix2-1222121"))
