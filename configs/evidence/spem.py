# Does SPEM help a small network, and is it its adapting that helps? Against the same
# network without attention, with SE (squeeze and excitation), and against SPEM that
# pools the maximum, the minimum or the mean alone.
#
# Cut for a CPU: half the width (8, 16 and 32 channels); the stem halves the image, so
# that the stages work on 16, 8 and 4 pixels; _base_.py's training, with 8 epochs. SPEM
# starts with its blocks nearly closed (y = 0.03 x), and a short training punishes that:
# that it loses to the plain network here would say nothing of the paper's 164 epochs.
# The SPEMs start alike, and may be compared with one another.
#
# All trainings take about 2 hours on one core, by the processor time of their steps
# on a busy machine.
_base_ = "./_base_.py"

configs = {
    "ResNet": "../classification/fashion_mnist/resnet20-strided_1xb64_fashion-mnist.py"
}
options = {
    "model.backbone.base_channels": 8,
    "model.backbone.stem_channels": 8,
    "model.backbone.stem_stride": 2,
    "train_cfg.max_epochs": 8,
    "param_scheduler.1.end": 8,
    "param_scheduler.1.T_max": 7,
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
        # 2, 4 and 8 hidden channels of 8, 16 and 32: the usual ratio of 16 would leave
        # half a one, and the default divisor makes 8 of them all
        "SE": {
            "model.backbone.attention_cfg": dict(type="SELayer", ratio=4, divisor=1)
        },
        "SPEM": spem(),
        "SPEM, max only": spem(pooling="max"),
        "SPEM, min only": spem(pooling="min"),
        "SPEM, average": spem(pooling="avg"),
    },
)
seeds = 5
reference = dict(attention="none")
