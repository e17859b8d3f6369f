_base_ = "./keyword_cifar100.py"

model = dict(backbone=dict(arch="resnet18-skip-1222"))
