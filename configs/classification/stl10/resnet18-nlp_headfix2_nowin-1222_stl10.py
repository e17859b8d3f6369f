_base_ = "./keyword_stl10.py"

model = dict(backbone=dict(arch="resnet18-nlp_headfix2_nowin-1222"))
