# The last three stages of a ResNet. Another one of 18 layers:
# --cfg-options model.backbone.arch=KEYWORD
_base_ = "./yolov3_mobilenetv2-nlp-block-end_8xb24-320-300e_coco.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="attnpool_mm.AttnPoolBackbone",
        arch="resnet18-nlp_headfix2_nowin-1222",
        out_indices=(1, 2, 3),
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet18"),
    )
)
find_unused_parameters = False  # the three taps reach all of a ResNet
