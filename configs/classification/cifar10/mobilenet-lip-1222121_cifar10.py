_base_ = "./keyword_cifar10.py"

model = dict(backbone=dict(arch="mobilenet-lip-1222121"))
