# Strides 4222121: on 320 pixels the maps have 5, 3, 2, 1, 1 and 1. With a pool, which
# rounds down, they have 5, 2, 1, 1, 1 and 1, and the strides are 64, 160, 320, ….
_base_ = "./ssdlite_mobilenetv2-nlp-block-end_1xb16-20e_coco.py"

model = dict(
    backbone=dict(arch="mobilenet-skip-4222121"),
    bbox_head=dict(anchor_generator=dict(strides=[64, 107, 160, 320, 320, 320])),
)
