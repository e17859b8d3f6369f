# How much faster is a training step with the channels last in memory? For
#     tools/analysis_tools/compare_pools.py configs/evidence/channels-last.py --time 9
_base_ = "./_base_.py"

configs = {
    "ResNet-20": (
        "../classification/fashion_mnist/resnet20-strided_1xb64_fashion-mnist.py"
    ),
    "MobileNetV2-0.35": (
        "../classification/fashion_mnist/mobilenet-v2-strided_1xb64_fashion-mnist.py"
    ),
}
axes = dict(
    pool={
        "strided as published": {},
        "average": {"model.backbone.pool_cfg": dict(type="AvgPool2d")},
        "NLP, patch 2": {
            "model.backbone.pool_cfg": dict(
                type="SelfAttentivePool2d", patch_size=2, normalize=False
            )
        },
    },
    channels={
        "first": {"default_hooks.channels_last": None},
        "last": {},
    },
)
reference = dict(channels="first")
