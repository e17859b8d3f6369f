_base_ = "./keyword_cifar100.py"

model = dict(backbone=dict(arch="mobilenet-gaussian_pool-1222121"))
