_base_ = "./resnet18-nlp-stage-end_1xb128_cifar10.py"

model = dict(backbone=dict(arch="resnet18-lip-1222"))
