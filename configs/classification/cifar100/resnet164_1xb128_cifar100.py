_base_ = [
    "../../_base_/models/resnet164_cifar.py",
    "../../_base_/datasets/cifar100_bs128.py",
    "../../_base_/schedules/cifar_164e.py",
    "mmpretrain::_base_/default_runtime.py",
]

model = dict(head=dict(num_classes=100))
# CIFAR-10's, as the authors of SPEM have it
data_preprocessor = dict(
    mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255]
)
