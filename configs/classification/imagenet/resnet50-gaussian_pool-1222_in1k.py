_base_ = "./keyword-resnet_in1k.py"

model = dict(backbone=dict(arch="resnet50-gaussian_pool-1222"))
