# classification_resnet14.py with a MobileNetV2 of width 0.35, whose pools follow the
# first block of a stage, where their authors put them. The stem keeps the image's size,
# and the sixth stage has stride 1: 32x32 pixels end as 4x4, 2x2 or 1x1.
#
# Cut for a CPU: _base_.py's training, no NLP of patch 1, and the two that train slowest
# of the others, mixed and deformable, at the aggressive strides only. At the more
# aggressive ones a patch of 4 does not fit the last map, of 2x2.
_base_ = ["./_robustness_.py", "./_pools_.py"]

configs = {
    "MobileNetV2-0.35": (
        "../classification/fashion_mnist/mobilenet-v2-strided_1xb64_fashion-mnist.py"
    )
}
axes = dict(
    strides={
        "standard": {"model.backbone.strides": (1, 2, 2, 2, 1, 1, 1)},
        "aggressive": {"model.backbone.strides": (2, 2, 2, 2, 1, 1, 1)},
        "more aggressive": {"model.backbone.strides": (4, 2, 2, 2, 1, 1, 1)},
    }
)
exclude = [
    dict(pool="NLP, patch 1"),
    dict(strides=["standard", "more aggressive"], pool=["mixed", "deformable"]),
    dict(strides="more aggressive", pool="NLP, patch 4"),
]
