_base_ = "./keyword_mnist.py"

model = dict(backbone=dict(arch="mobilenet-lip-1222121"))
