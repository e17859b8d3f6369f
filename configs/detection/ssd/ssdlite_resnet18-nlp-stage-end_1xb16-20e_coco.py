# The last two stages of a ResNet, from scratch, with the initial values and norms of
# MMDetection's SSDLite (the authors' are not known). Another one of 18 layers:
# --cfg-options model.backbone.arch=KEYWORD
_base_ = "./ssdlite_mobilenetv2-nlp-block-end_1xb16-20e_coco.py"

model = dict(backbone=dict(arch="resnet18-nlp_headfix2_nowin-1222", out_indices=(2, 3)))
