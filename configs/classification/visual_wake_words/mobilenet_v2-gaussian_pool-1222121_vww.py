_base_ = "./keyword_vww.py"

model = dict(backbone=dict(arch="mobilenet_v2-gaussian_pool-1222121"))
