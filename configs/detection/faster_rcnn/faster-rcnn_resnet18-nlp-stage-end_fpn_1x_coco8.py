# 8 classes of COCO. Another network of 18 layers:
# --cfg-options model.backbone.arch=KEYWORD
_base_ = [
    "../../_base_/models/faster-rcnn_keyword_fpn.py",
    "../../_base_/datasets/coco8_detection.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=8)))
# A last batch of one image cannot train Gaussian pooling
train_dataloader = dict(batch_sampler=dict(drop_last=True))
optim_wrapper = dict(clip_grad=dict(max_norm=20))
