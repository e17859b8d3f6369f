# Which pool is the most accurate in the same place of a ResNet in the CIFAR form, and
# what does it cost? Every pool follows the last block of its stage, where its authors
# put it.
#
# Cut for a CPU: depth 14, half the width (8, 16 and 32 channels), _base_.py's training.
_base_ = ["./_robustness_.py", "./_pools_.py"]

configs = {
    "ResNet-14": (
        "../classification/fashion_mnist/resnet20-strided_1xb64_fashion-mnist.py"
    )
}
options = {
    "model.backbone.depth": 14,
    "model.backbone.base_channels": 8,
    "model.backbone.stem_channels": 8,
}
axes = dict(
    strides={
        "standard": {"model.backbone.strides": (1, 2, 2)},
        "aggressive": {"model.backbone.strides": (2, 2, 2)},
        "more aggressive": {"model.backbone.strides": (4, 2, 2)},
    }
)
