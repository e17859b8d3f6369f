_base_ = "./ssdlite_keyword-mobilenet_20e_coco.py"

model = dict(backbone=dict(arch="dymobilenet-nlp-1222121"))
