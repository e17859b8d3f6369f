# Strides 4222. Another network of 50 layers with these strides:
# --cfg-options model.backbone.arch=KEYWORD
_base_ = "./faster-rcnn_resnet50-nlp-stage-end_fpn_1x_coco.py"

model = dict(
    data_preprocessor=dict(pad_size_divisor=128),  # the coarsest map's stride
    backbone=dict(arch="resnet50-nlp_headfix2_nowin-4222"),
    # Anchors of 32 to 512 pixels, RoIs of 14 to 28 pixels of a map, as with 1222
    rpn_head=dict(anchor_generator=dict(strides=[16, 32, 64, 128, 256], scales=[2])),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[16, 32, 64, 128], finest_scale=224)
    ),
)
