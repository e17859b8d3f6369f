# ImageNet in data/imagenet, or in imagenet/ of the folder that ATTNPOOL_DATA names
_base_ = "mmpretrain::_base_/datasets/imagenet_bs32.py"

data_root = "{{$ATTNPOOL_DATA:data}}/imagenet"
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
