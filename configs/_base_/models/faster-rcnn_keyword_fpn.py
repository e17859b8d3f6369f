# MMDetection's Faster R-CNN with FPN, on the ResNet of an architecture keyword. Strides
# of anchors and RoIs are those of 1222.
_base_ = "mmdet::_base_/models/faster-rcnn_r50_fpn.py"

# neck.in_channels are the backbone's: AttnPoolDetector fills them in
model = dict(
    type="attnpool_mm.AttnPoolDetector",
    detector="FasterRCNN",
    backbone=dict(
        _delete_=True,
        type="attnpool_mm.AttnPoolBackbone",
        arch="resnet18-nlp_headfix2_nowin-1222",
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet18"),
        # Neither frozen stages nor norm_eval: a keyword's pools start fresh, in the
        # stem and the first stage too, and their norms have statistics to learn.
        frozen_stages=-1,
        norm_eval=False,
    ),
    neck=dict(in_channels=None),
)
