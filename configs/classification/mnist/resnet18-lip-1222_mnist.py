_base_ = "./keyword_mnist.py"

model = dict(backbone=dict(arch="resnet18-lip-1222"))
