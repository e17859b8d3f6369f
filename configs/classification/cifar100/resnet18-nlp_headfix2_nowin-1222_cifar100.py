_base_ = "./keyword_cifar100.py"

model = dict(backbone=dict(arch="resnet18-nlp_headfix2_nowin-1222"))
