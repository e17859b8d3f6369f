# At the 96x96 pixels of the images themselves.
_base_ = "./resnet18-nlp-stage-end_1xb8_stl10.py"

train_pipeline = [
    dict(type="Resize", scale=96),
    dict(type="RandomResizedCrop", scale=96),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="Resize", scale=96),
    dict(type="CenterCrop", crop_size=96),
    dict(type="PackInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
