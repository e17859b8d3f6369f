_base_ = "./ssdlite_keyword-mobilenet_20e_coco.py"

model = dict(backbone=dict(arch="mobilenet-nlp-1222121"))
