_base_ = "./keyword-mobilenet_in1k.py"

model = dict(backbone=dict(arch="mobilenet-gaussian_pool-1222121"))
