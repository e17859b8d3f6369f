# A classifier whose backbone is an architecture keyword; the head's in_channels are the
# backbone's
model = dict(
    type="attnpool_mm.AttnPoolClassifier",
    backbone=dict(
        type="attnpool_mm.AttnPoolBackbone", arch="resnet18-nlp_headfix2_nowin-1222"
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
)
