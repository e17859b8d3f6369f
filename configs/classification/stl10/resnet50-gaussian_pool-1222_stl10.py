_base_ = "./keyword_stl10.py"

model = dict(backbone=dict(arch="resnet50-gaussian_pool-1222"))
