_base_ = "./keyword_vww.py"

model = dict(backbone=dict(arch="resnet18-skip-1222"))
