# Visual Wake Words on COCO 2017, in data/coco as MMDetection lays it out, or in coco/
# of the folder that ATTNPOOL_DATA names. The published split is another, of COCO 2014.
# 96x96 pixels, a size for microcontrollers.
dataset_type = "attnpool_mm.VisualWakeWords"
data_root = "{{$ATTNPOOL_DATA:data}}/coco/"
data_preprocessor = dict(
    num_classes=2,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

# A person may fill no more than 0.5 % of the image, anywhere in it. So training crops
# away half of it at most, not the usual 92 %, and testing sees all of it, squeezed
# into a square.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="RandomResizedCrop",
        scale=96,
        crop_ratio_range=(0.5, 1.0),
        interpolation="area",
    ),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=96, interpolation="area"),
    dict(type="PackInputs"),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img_path="train2017/"),
        threshold=0.005,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img_path="val2017/"),
        threshold=0.005,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type="Accuracy", topk=(1,))
test_evaluator = val_evaluator
