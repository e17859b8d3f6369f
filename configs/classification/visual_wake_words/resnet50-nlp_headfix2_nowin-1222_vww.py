_base_ = "./keyword_vww.py"

model = dict(backbone=dict(arch="resnet50-nlp_headfix2_nowin-1222"))
