_base_ = [
    "../../_base_/models/ssdlite_small.py",
    "../../_base_/datasets/fashion_coco.py",
    "../../_base_/schedules/fashion_coco_4e.py",
    "mmdet::_base_/default_runtime.py",
]

optim_wrapper = dict(optimizer=dict(lr=4e-3))
