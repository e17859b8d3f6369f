# Which pool is the best at equal memory, on a device that has no operator for
# attention? All networks need 105.9 kB, within 3 %: TensorFlow Lite Micro's arena at
# one byte a value, the weights not counted. Of NLP's, most are matrices of tokens x
# tokens in float32; in the same memory the others are wider. Beside the activations the
# arena holds 12 to 37 kB that the kernels keep, more for a network of more operations.
# The runner checks it before any training.
#
# The widths are the largest within 1.5 % that
#     tools/analysis_tools/equal_memory.py CONFIG --near memory --limit 105868
#         --attention unfused
# lists with the level's pool as --cfg-options, strides 222 and widths of n/16. NLP of
# patch 2 fits with images of half the size (64 tokens): with the whole one it needs
# 1.1 MB at any width. Deformable pools do not fit: at 12x12 pixels and with 8 channels
# one needs 116 kB.
#
# Cut for a CPU: depth 14, strides 2, 2, 2, _base_.py's training.
#
# All trainings take about 1.4 hours on one core, by the processor time of their steps
# on a busy machine.
_base_ = "./_base_.py"

configs = {
    "ResNet-14": (
        "../classification/fashion_mnist/resnet20-strided_1xb64_fashion-mnist.py"
    )
}
options = {
    "model.backbone.depth": 14,
    "model.backbone.strides": (2, 2, 2),
}


def network(width, pool=None, **kwargs):
    options = {
        "model.backbone.base_channels": width,
        "model.backbone.stem_channels": width,
    }
    if pool:
        options["model.backbone.pool_cfg"] = dict(type=pool, **kwargs)
    return options


def at_half_size(options):
    """14x14 pixels in a margin, 16x16."""
    train, val, test = (
        f"{name}_dataloader.dataset.pipeline" for name in ("train", "val", "test")
    )
    options |= {
        f"{train}.0.scale": 14,
        f"{train}.1.crop_size": 16,
        f"{train}.1.padding": 1,
    }
    for pipeline in (val, test):
        options |= {f"{pipeline}.0.scale": 14, f"{pipeline}.3.size": 16}
    return options


axes = dict(
    pool={
        "strided as published": network(37),
        "strided": network(22, "StridedConv2d"),
        "average": network(23, "AvgPool2d"),
        "max": network(23, "MaxPool2d"),
        "LIP": network(10, "LocalImportancePool2d"),
        "NLP, patch 4": network(
            8, "SelfAttentivePool2d", patch_size=4, normalize=False
        ),
        "NLP, patch 2, half size": at_half_size(
            network(14, "SelfAttentivePool2d", patch_size=2, normalize=False)
        ),
        "mixed, half size": at_half_size(
            network(
                9,
                "MixedPool2d",
                normalize=False,
                pools=[
                    dict(type="LocalImportancePool2d"),
                    dict(type="SelfAttentivePool2d", patch_size=2),
                ],
            )
        ),
    },
)
seeds = 3
reference = dict(pool="strided as published")
equal = dict(cost="peak_unfused", within=0.03)
