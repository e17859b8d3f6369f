_base_ = "./keyword-mobilenet_in1k.py"

model = dict(backbone=dict(arch="mobilenet_v2-gaussian_pool-1222121"))
