_base_ = "./resnet164_b128_cifar100.py"

model = dict(backbone=dict(attention_cfg=dict(type="SELayer", ratio=16)))
