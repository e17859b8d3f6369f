_base_ = "./keyword_vww.py"

model = dict(backbone=dict(arch="resnet50-gaussian_pool-1222"))
