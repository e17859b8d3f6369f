# CIFAR-100 in data/cifar100, or in cifar100/ of the folder that ATTNPOOL_DATA names;
# MMPretrain downloads it there. Photographs: as in cifar10_bs128.py
_base_ = "mmpretrain::_base_/datasets/cifar100_bs16.py"

# as the authors of self-attentive pooling have it
data_preprocessor = dict(
    mean=[129.3105, 124.1085, 112.404], std=[68.2125, 65.4075, 70.4055]
)

data_root = "{{$ATTNPOOL_DATA:data}}/cifar100"
train_dataloader = dict(batch_size=128, dataset=dict(data_root=data_root))
val_dataloader = dict(batch_size=128, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
