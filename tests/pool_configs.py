"""A config of every pool, and of what its arguments change."""

from attnpool_mm.pooling import pool_names

ATTENTIVE = dict(type="SelfAttentivePool2d")
DEFORMABLE = dict(type="DeformableSelfAttentivePool2d")
LOCAL = dict(type="LocalImportancePool2d")
CONFIGS = [dict(type=name) for name in pool_names()] + [
    dict(ATTENTIVE, patch_size=2, normalize=False),
    dict(ATTENTIVE, sigmoid=False),
    dict(ATTENTIVE, sigmoid=False, normalize=False),
    dict(ATTENTIVE, conv_cfg=dict(type="DynamicConv2d")),
    dict(LOCAL, form="original"),
    dict(LOCAL, window=3, padding=1, normalize=False),
    dict(ATTENTIVE, sigmoid=False, window=4, padding=1),
    dict(type="AdaptiveExponentialPool2d", grid_size=(2, 3)),
    dict(type="BlurPool2d", kernel_size=7),
    dict(type="BlurPool2d", kernel_size=4, padding_mode="zeros"),
    dict(DEFORMABLE, patch_size=2, normalize=False),
    dict(
        type="MixedPool2d",
        pools=[dict(DEFORMABLE, patch_size=2), dict(LOCAL, kernel_size=2)],
    ),
]
ABLATIONS = [
    dict(ATTENTIVE, exp=False),
    dict(ATTENTIVE, position=False, embed_norm=False, restore_norm=False),
]
