# SSDLite on the backbone of an architecture keyword. The strides of anchors are those
# of 1222121, or of 1222 with the last two stages of a ResNet.
_base_ = "./ssdlite_coco.py"

# The None are the backbone's channels: AttnPoolDetector fills them in
model = dict(
    type="attnpool_mm.AttnPoolDetector",
    detector="SingleStageDetector",
    backbone=dict(
        type="attnpool_mm.AttnPoolBackbone",
        arch="mobilenet_v2-nlp_headfix2_nowin-1222121",
    ),
    neck=dict(in_channels=None, out_channels=[None, None, 512, 256, 256, 128]),
    bbox_head=dict(in_channels=None),
)
# A last batch of one image cannot train Gaussian pooling, nor the norms of 1x1 maps
train_dataloader = dict(drop_last=True)
