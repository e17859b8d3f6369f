# Strides 2222121: on 320 pixels the maps have 10, 5, 3, 2, 1 and 1. Another MobileNetV2
# with these strides: --cfg-options model.backbone.arch=KEYWORD
_base_ = "./ssdlite_mobilenetv2-nlp-block-end_1xb16-20e_coco.py"

model = dict(
    backbone=dict(arch="mobilenet_v2-nlp_headfix2_nowin-2222121"),
    bbox_head=dict(anchor_generator=dict(strides=[32, 64, 107, 160, 320, 320])),
)
