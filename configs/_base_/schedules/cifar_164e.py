# 164 epochs; the learning rate falls to a tenth after 81 and 122
_base_ = "mmpretrain::_base_/schedules/cifar10_bs128.py"

param_scheduler = dict(milestones=[81, 122])
train_cfg = dict(max_epochs=164)
