_base_ = "./resnet164-spem_b128_cifar10.py"

model = dict(backbone=dict(depth=83))
