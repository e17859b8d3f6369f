_base_ = "./keyword_vww.py"

model = dict(backbone=dict(arch="mobilenet_v2-nlp_headfix2_nowin-1222121"))
