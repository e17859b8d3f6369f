# 80 classes, 12 epochs, 16 images a step. Another network of 18 layers:
# --cfg-options model.backbone.arch=KEYWORD
_base_ = [
    "../../_base_/models/faster-rcnn_keyword_fpn.py",
    "../../_base_/datasets/coco_detection.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]

# A last batch of one image cannot train Gaussian pooling
train_dataloader = dict(batch_sampler=dict(drop_last=True))
optim_wrapper = dict(clip_grad=dict(max_norm=20))
