# The pools that are compared, each in the same places of the same network. "strided as
# published" has strided convolutions in the blocks instead, "strided" has one where a
# pool would be. NLP has no window normalisation, as its authors recommend. With patch 1
# it is at one setting of the strides only: its attention among 1,024 tokens takes
# twenty times as long as the whole network with average pools.


def pool(type, **kwargs):
    return {"model.backbone.pool_cfg": dict(type=type, **kwargs)}


def nlp(patch_size, **kwargs):
    return pool("SelfAttentivePool2d", patch_size=patch_size, normalize=False, **kwargs)


axes = dict(
    pool={
        "strided as published": {},
        "strided": pool("StridedConv2d"),
        "average": pool("AvgPool2d"),
        "max": pool("MaxPool2d"),
        "blur": pool("BlurPool2d"),
        "soft": pool("SoftPool2d"),
        "LIP": pool("LocalImportancePool2d"),
        "LIP, original": pool("LocalImportancePool2d", form="original"),
        "Gaussian": pool("GaussianPool2d"),
        "NLP, patch 4": nlp(4),
        "NLP, patch 2": nlp(2),
        "mixed": pool(
            "MixedPool2d",
            normalize=False,
            pools=[
                dict(type="LocalImportancePool2d"),
                dict(type="SelfAttentivePool2d", patch_size=2),
            ],
        ),
        "deformable": pool(
            "DeformableSelfAttentivePool2d", patch_size=2, normalize=False
        ),
        "NLP, patch 1": nlp(1),
    },
)
exclude = [dict(strides=["standard", "more aggressive"], pool="NLP, patch 1")]
seeds = 3
reference = dict(pool="average")
