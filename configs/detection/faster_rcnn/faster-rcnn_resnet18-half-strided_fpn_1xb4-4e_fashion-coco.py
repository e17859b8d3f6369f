_base_ = [
    "../../_base_/models/faster-rcnn_small_fpn.py",
    "../../_base_/datasets/fashion_coco.py",
    "../../_base_/schedules/fashion_coco_4e.py",
    "mmdet::_base_/default_runtime.py",
]
