# Which parts of self-attentive pooling (NLP) does its accuracy need? Each row lacks or
# changes one. Without window normalisation, as its authors recommend; with it and a
# patch of the stride's size the weights cancel, so that row must equal average pooling
# but for its seeds' noise. A patch of 3 pixels is not constant in a window, and there
# normalisation does what it is meant to: its row is to be compared with that of patch 3
# without it.
#
# Cut for a CPU: ResNet-14 of half the width at strides 2, 2, 2; patch 2, which makes
# 256 tokens of 32x32 pixels. Patch 1, of 1024 tokens, is in ablations_gpu.py.
#
# All trainings take about 1 hour on one core, by the processor time of their steps
# on a busy machine.
_base_ = "./_base_.py"

configs = {
    "ResNet-14": (
        "../classification/fashion_mnist/resnet20-strided_1xb64_fashion-mnist.py"
    )
}
options = {
    "model.backbone.depth": 14,
    "model.backbone.base_channels": 8,
    "model.backbone.stem_channels": 8,
    "model.backbone.strides": (2, 2, 2),
}


def nlp(**kwargs):
    arguments = dict(patch_size=2, normalize=False) | kwargs
    return {"model.backbone.pool_cfg": dict(type="SelfAttentivePool2d", **arguments)}


axes = dict(
    pool={
        "NLP": nlp(),
        "without exp": nlp(exp=False),
        "without sigmoid": nlp(sigmoid=False),
        "without positions": nlp(position=False),
        "without the first norm": nlp(embed_norm=False),
        "without the last norm": nlp(restore_norm=False),
        "patch 3": nlp(patch_size=3),
        "patch 3, normalised": nlp(patch_size=3, normalize=True),
        "patch 2, normalised (cancels)": nlp(normalize=True),
        "average": {"model.backbone.pool_cfg": dict(type="AvgPool2d")},
    },
)
seeds = 3
reference = dict(pool="NLP")
