_base_ = [
    "../../_base_/models/ssdlite_small_fpn.py",
    "../../_base_/datasets/fashion_coco.py",
    "../../_base_/schedules/fashion_coco_4e.py",
    "mmdet::_base_/default_runtime.py",
]

max_epochs = 6
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs, T_max=max_epochs - 1),
]
