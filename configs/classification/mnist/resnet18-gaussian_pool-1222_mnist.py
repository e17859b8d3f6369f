_base_ = "./keyword_mnist.py"

model = dict(backbone=dict(arch="resnet18-gaussian_pool-1222"))
