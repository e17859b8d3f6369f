# MMDetection's schedule: 300 epochs, 192 images a step. Another MobileNetV2:
# --cfg-options model.backbone.arch=KEYWORD
_base_ = "../../_base_/models/yolov3_coco.py"

# neck.in_channels are the backbone's: AttnPoolDetector fills them in
model = dict(
    type="attnpool_mm.AttnPoolDetector",
    detector="YOLOV3",
    backbone=dict(
        type="attnpool_mm.AttnPoolBackbone",
        arch="mobilenet_v2-nlp_headfix2_nowin-1222121",
    ),
    neck=dict(in_channels=None),
)
# A last batch of one image cannot train Gaussian pooling
train_dataloader = dict(batch_sampler=dict(drop_last=True))
