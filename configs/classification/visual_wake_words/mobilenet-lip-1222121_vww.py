_base_ = "./keyword_vww.py"

model = dict(backbone=dict(arch="mobilenet-lip-1222121"))
