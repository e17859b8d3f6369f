# Self-attentive pooling in the form that its authors recommend.
_base_ = "./yolov3_keyword-mobilenet_8xb24-320-300e_coco.py"
