# CIFAR-100 in data/cifar100, or in cifar100/ of the folder that ATTNPOOL_DATA names;
# MMPretrain downloads it there
_base_ = "mmpretrain::_base_/datasets/cifar100_bs16.py"

# CIFAR-10's, as the authors of SPEM have it
data_preprocessor = dict(
    mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255]
)

data_root = "{{$ATTNPOOL_DATA:data}}/cifar100"
train_dataloader = dict(batch_size=128, dataset=dict(data_root=data_root))
val_dataloader = dict(batch_size=128, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
