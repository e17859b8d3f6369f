# Does SPEM help a small network, and is it its adapting that helps? Against the same
# network without attention, with SE (squeeze and excitation), and against SPEM that
# pools the maximum, the minimum or the mean alone.
#
# Cut for a CPU: half the width (8, 16 and 32 channels); the stem halves the image, so
# that the stages work on 16, 8 and 4 pixels; 10,000 training images and few epochs
# (_base_.py). SPEM starts with its blocks nearly closed (y = 0.03 x), which a short
# training punishes: a loss against the plain network here says nothing of 164 epochs.
_base_ = "./_base_.py"

configs = {
    "ResNet": "../classification/fashion_mnist/resnet20-strided_1xb64_fashion-mnist.py"
}
options = {
    "model.backbone.base_channels": 8,
    "model.backbone.stem_channels": 8,
    "model.backbone.stem_stride": 2,
}


def spem(**kwargs):
    return {
        "model.backbone.attention_cfg": dict(type="SPEM", **kwargs),
        "optim_wrapper.constructor": "attnpool_mm.SPEMOptimWrapperConstructor",
    }


axes = dict(
    depth={f"{depth}": {"model.backbone.depth": depth} for depth in (20, 56)},
    attention={
        "none": {},
        # of 8 channels and more; the default ratio of 16 would leave half a channel
        "SE": {"model.backbone.attention_cfg": dict(type="SELayer", ratio=4)},
        "SPEM": spem(),
        "SPEM, max only": spem(pooling="max"),
        "SPEM, min only": spem(pooling="min"),
        "SPEM, average": spem(pooling="avg"),
    },
)
seeds = 5
reference = dict(attention="none")
