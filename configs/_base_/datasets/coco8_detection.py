# COCO 2017, 8 classes
_base_ = ["./coco_detection.py", "./coco8_classes.py"]

train_dataloader = dict(dataset=dict(metainfo=_base_.metainfo))
val_dataloader = dict(dataset=dict(metainfo=_base_.metainfo))
test_dataloader = val_dataloader
