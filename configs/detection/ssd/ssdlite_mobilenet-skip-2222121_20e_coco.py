_base_ = "./ssdlite_keyword-mobilenet-2222121_20e_coco.py"

model = dict(backbone=dict(arch="mobilenet-skip-2222121"))
