# ResNet-164 of bottlenecks for 32x32 images; the head's in_channels are the backbone's
model = dict(
    type="attnpool_mm.AttnPoolClassifier",
    backbone=dict(type="attnpool_mm.AttnPoolResNetCIFAR", depth=164),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
)
