# Another network of 50 layers: --cfg-options model.backbone.arch=KEYWORD
_base_ = "./faster-rcnn_resnet18-nlp-stage-end_fpn_1x_coco8.py"

model = dict(
    backbone=dict(
        arch="resnet50-nlp_headfix2_nowin-1222",
        init_cfg=dict(checkpoint="torchvision://resnet50"),
    )
)
