_base_ = "./ssdlite_keyword-mobilenet-4222121_20e_coco.py"

model = dict(backbone=dict(arch="mobilenet-skip-4222121"))
