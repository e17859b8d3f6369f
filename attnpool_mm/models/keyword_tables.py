"""The words of architecture keywords, and what they stand for in a config."""

RESNET = "attnpool_mm.AttnPoolResNet"
MOBILENET = "attnpool_mm.AttnPoolMobileNetV2"
MOBILENET_V3 = "attnpool_mm.AttnPoolMobileNetV3"
POOLED = "attnpool_mm.PooledBackbone"
BACKBONES = {
    "resnet18": dict(type=RESNET, depth=18, pool_position="stage_end"),
    "resnet18_v2": dict(type=RESNET, depth=18, pool_position="first_block"),
    "resnet50": dict(type=RESNET, depth=50, pool_position="stage_end"),
    "resnet50_v2": dict(type=RESNET, depth=50, pool_position="first_block"),
    "mobilenet": dict(type=MOBILENET, pool_position="stage_start"),
    "mobilenet_v2": dict(type=MOBILENET, pool_position="first_block"),
    "mobilenetv3_small": dict(type=MOBILENET_V3, arch="small"),
    "mobilenetv3_large": dict(type=MOBILENET_V3, arch="large"),
    "resnext50": dict(
        type=POOLED,
        backbone=dict(
            type="mmpretrain.ResNeXt", depth=50, groups=32, width_per_group=4
        ),
    ),
    "regnetx_400mf": dict(
        type=POOLED, backbone=dict(type="mmpretrain.RegNet", arch="regnetx_400mf")
    ),
}
STRIDES = {
    "mobilenet": "1222121",
    "mobilenet_v2": "1222121",
    "mobilenetv3_small": "22121111211",
    "mobilenetv3_large": "121211211111211",
    "regnetx_400mf": "2222",
}
USUAL_STRIDES = "1222"  # of the others
PLAIN_POOLS = {
    "skip": None,
    "maxp": dict(type="MaxPool2d"),
    "avgp": dict(type="AvgPool2d"),
    "lip": dict(type="LocalImportancePool2d"),
    "gaussian_pool": dict(type="GaussianPool2d"),
    "attnpool": dict(type="AttentionPool2d"),
}
NO_POOL = dict(type="MaxPool2d", stride=1, kernel_size=1)
SELF_ATTENTIVE_POOLS = {
    "nlp": dict(type="SelfAttentivePool2d"),
    "nlpnoexp": dict(type="SelfAttentivePool2d", exp=False),
    "nlpnosigmoid": dict(type="SelfAttentivePool2d", sigmoid=False),
    "nlpnope": dict(type="SelfAttentivePool2d", position=False),
    "nlpnobn1": dict(type="SelfAttentivePool2d", embed_norm=False),
    "nlpnobn2": dict(type="SelfAttentivePool2d", restore_norm=False),
    "dfmnlp": dict(type="DeformableSelfAttentivePool2d"),
    "mixp": dict(type="SelfAttentivePool2d"),
    "dfmixp": dict(type="DeformableSelfAttentivePool2d"),
}
SUFFIXES = ("headfix2", "nowin", "reduced", "reduced0211", "reduced0842")
# By number of stages. The paper has 4 and 7; a MobileNetV3 has a stage a block, whose
# heads follow the channels.
HEADS = {
    4: (4, 8, 16, 32),
    7: (2, 4, 8, 16, 32, 64, 128),
    11: (2, 4, 4, 8, 8, 8, 8, 8, 16, 16, 16),
    15: (2, 4, 4, 8, 8, 8, 16, 16, 16, 16, 16, 16, 32, 32, 32),
}
PATCHES = {  # None: a stage that cannot have a pool
    (4, "reduced"): (4, 2, 1, 1),
    (4, "reduced0211"): (None, 2, 1, 1),
    (4, "reduced0842"): (None, 8, 4, 2),
    (7, "reduced"): (4, 4, 4, 2, 2, 1, 1),
}
DYNAMIC = dict(type="DynamicConv2d")
