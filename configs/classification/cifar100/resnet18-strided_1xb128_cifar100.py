_base_ = "./resnet18-nlp-stage-end_1xb128_cifar100.py"

model = dict(backbone=dict(arch="resnet18-skip-1222"))
