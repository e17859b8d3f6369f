_base_ = "./keyword_mnist.py"

model = dict(backbone=dict(arch="resnet50-lip-1222"))
