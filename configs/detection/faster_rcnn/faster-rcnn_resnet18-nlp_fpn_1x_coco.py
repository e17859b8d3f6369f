# COCO in data/coco, or in coco/ of the folder that ATTNPOOL_DATA names; 80 classes, 12
# epochs, 16 images a step.
_base_ = [
    "../../_base_/models/faster-rcnn_resnet18-nlp_fpn.py",
    "../../_base_/datasets/coco_detection.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]

optim_wrapper = dict(clip_grad=dict(max_norm=20))
