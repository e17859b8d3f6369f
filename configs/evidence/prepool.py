# Which pool should stand in front of a network, between its stem and its first stage?
# In the logs of self-attentive pooling's authors a plain max-pool wins there.
#
# Cut for a CPU: ResNet-14 of half the width, _base_.py's training. NLP with a patch of
# the stride's size, not normalised.
_base_ = "./_robustness_.py"

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


def prepool(type, **kwargs):
    return {"model.backbone.stem_pool_cfg": dict(type=type, **kwargs)}


def nlp(patch_size):
    return prepool("SelfAttentivePool2d", patch_size=patch_size, normalize=False)


axes = dict(
    stride={
        f"{stride}": {"model.backbone.stem_pool_cfg.stride": stride}
        for stride in (2, 4)
    },
    pool={
        "strided": prepool("StridedConv2d"),
        "average": prepool("AvgPool2d"),
        "max": prepool("MaxPool2d"),
        "blur": prepool("BlurPool2d"),
        "soft": prepool("SoftPool2d"),
        "LIP": prepool("LocalImportancePool2d"),
        "LIP, original": prepool("LocalImportancePool2d", form="original"),
        "Gaussian": prepool("GaussianPool2d"),
        "NLP, patch 4": nlp(4),
        "NLP, patch 2": nlp(2),
    },
)
seeds = 5
reference = dict(pool="max")
