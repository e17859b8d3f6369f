_base_ = "./resnet164-spem_b128_cifar100.py"

model = dict(backbone=dict(depth=20))
