# CIFAR-10 in data/cifar10, or in cifar10/ of the folder that ATTNPOOL_DATA names;
# MMPretrain downloads it there. Its images come as RGB, so to_rgb is False. A
# photograph is read as BGR: demo/image_demo.py and pooling_weights.py see to it, and
# docs/inference.md says what to do with MMPretrain's inferencer.
_base_ = "mmpretrain::_base_/datasets/cifar10_bs16.py"

data_root = "{{$ATTNPOOL_DATA:data}}/cifar10"
train_dataloader = dict(batch_size=128, dataset=dict(data_root=data_root))
val_dataloader = dict(batch_size=128, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
