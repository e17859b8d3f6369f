_base_ = "./keyword-resnet_in1k.py"

model = dict(backbone=dict(arch="resnet18-gaussian_pool-1222"))
