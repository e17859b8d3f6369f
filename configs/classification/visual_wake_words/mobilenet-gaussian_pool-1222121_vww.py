_base_ = "./keyword_vww.py"

model = dict(backbone=dict(arch="mobilenet-gaussian_pool-1222121"))
