# Strides 4222. Another network of 18 layers with these strides:
# --cfg-options model.backbone.arch=KEYWORD
_base_ = "./yolov3_resnet18-nlp-stage-end_8xb24-320-300e_coco.py"

# the neck needs maps that halve exactly
data_preprocessor = dict(pad_size_divisor=128)
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(arch="resnet18-nlp_headfix2_nowin-4222"),
    bbox_head=dict(
        anchor_generator=dict(strides=[128, 64, 32]), featmap_strides=[128, 64, 32]
    ),
)
