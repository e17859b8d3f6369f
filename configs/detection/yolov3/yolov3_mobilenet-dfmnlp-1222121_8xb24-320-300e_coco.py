_base_ = "./yolov3_keyword-mobilenet_8xb24-320-300e_coco.py"

model = dict(backbone=dict(arch="mobilenet-dfmnlp-1222121"))
