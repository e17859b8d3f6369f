_base_ = "./keyword_cifar100.py"

model = dict(backbone=dict(arch="mobilenet-nlp_headfix2_nowin-1222121"))
