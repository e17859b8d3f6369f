_base_ = "./keyword_stl10.py"

model = dict(backbone=dict(arch="resnet18-skip-1222"))
