# 8 classes of COCO. Another network of 18 layers:
# --cfg-options model.backbone.arch=KEYWORD
_base_ = [
    "./ssdlite_resnet18-nlp-stage-end_1xb16-20e_coco.py",
    "../../_base_/datasets/coco8_classes.py",
]

model = dict(bbox_head=dict(num_classes=8))
train_dataloader = dict(dataset=dict(metainfo=_base_.metainfo))
val_dataloader = dict(dataset=dict(metainfo=_base_.metainfo))
test_dataloader = val_dataloader
