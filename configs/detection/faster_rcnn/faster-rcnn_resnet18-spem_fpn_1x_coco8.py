# 8 classes of COCO.
_base_ = [
    "./faster-rcnn_resnet18-spem_fpn_1x_coco.py",
    "../../_base_/datasets/coco8_classes.py",
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=8)))
train_dataloader = dict(dataset=dict(metainfo=_base_.metainfo))
val_dataloader = dict(dataset=dict(metainfo=_base_.metainfo))
test_dataloader = val_dataloader
