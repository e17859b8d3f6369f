_base_ = "./yolov3_keyword-resnet18-2222_8xb24-320-300e_coco.py"

model = dict(backbone=dict(arch="resnet18-lip-2222"))
