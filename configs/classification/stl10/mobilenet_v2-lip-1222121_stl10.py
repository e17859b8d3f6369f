_base_ = "./keyword_stl10.py"

model = dict(backbone=dict(arch="mobilenet_v2-lip-1222121"))
