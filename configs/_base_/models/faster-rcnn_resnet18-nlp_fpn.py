# MMDetection's Faster R-CNN with FPN on a ResNet-18 whose last three stages are
# halved by self-attentive pooling, in the form that its authors recommend: 2 heads,
# not divided by the window's mean weight.
_base_ = "mmdet::_base_/models/faster-rcnn_r50_fpn.py"

model = dict(
    backbone=dict(
        type="attnpool_mm.AttnPoolResNet",
        depth=18,
        pool_cfg=dict(type="SelfAttentivePool2d", num_heads=2, normalize=False),
        norm_eval=False,  # the pools' norms start fresh and have statistics to learn
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet18"),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
