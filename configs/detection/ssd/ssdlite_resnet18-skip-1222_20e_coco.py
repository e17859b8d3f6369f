_base_ = "./ssdlite_keyword-resnet18_20e_coco.py"

model = dict(backbone=dict(arch="resnet18-skip-1222"))
