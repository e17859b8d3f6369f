_base_ = "./keyword_cifar100.py"

model = dict(backbone=dict(arch="resnet50-lip-1222"))
