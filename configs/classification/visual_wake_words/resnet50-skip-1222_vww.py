_base_ = "./keyword_vww.py"

model = dict(backbone=dict(arch="resnet50-skip-1222"))
