_base_ = "./keyword_cifar100.py"

model = dict(backbone=dict(arch="mobilenet-lip-1222121"))
