_base_ = "./resnet164_1xb128_cifar10.py"

model = dict(backbone=dict(attention_cfg=dict(type="SELayer", ratio=16)))
