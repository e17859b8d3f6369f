_base_ = "./ssdlite_keyword-mobilenet_20e_coco.py"

model = dict(backbone=dict(arch="mobilenet-dfmnlp-1222121"))
