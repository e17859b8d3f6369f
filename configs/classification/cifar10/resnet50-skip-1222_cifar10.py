_base_ = "./keyword_cifar10.py"

model = dict(backbone=dict(arch="resnet50-skip-1222"))
