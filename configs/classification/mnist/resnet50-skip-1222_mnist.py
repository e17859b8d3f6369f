_base_ = "./keyword_mnist.py"

model = dict(backbone=dict(arch="resnet50-skip-1222"))
