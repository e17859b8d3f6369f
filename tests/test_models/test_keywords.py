"""Architecture keywords → configs → backbones."""

import itertools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from attnpool_mm.layers import DynamicConv2d
from attnpool_mm.models import (
    AttnPoolMobileNetV2,
    AttnPoolResNet,
    AttnPoolResNetCIFAR,
    arch_to_config,
    attn_pool_backbone,
)
from attnpool_mm.models.classifier import AttnPoolClassifier
from attnpool_mm.pooling import LocalImportancePool2d, SelfAttentivePool2d
from attnpool_mm.utils.errors import ConfigError

PLACES = {
    "resnet18": ("attnpool_mm.AttnPoolResNet", 18, "stage_end"),
    "resnet18_v2": ("attnpool_mm.AttnPoolResNet", 18, "first_block"),
    "resnet50": ("attnpool_mm.AttnPoolResNet", 50, "stage_end"),
    "resnet50_v2": ("attnpool_mm.AttnPoolResNet", 50, "first_block"),
    "mobilenet": ("attnpool_mm.AttnPoolMobileNetV2", None, "stage_start"),
    "mobilenet_v2": ("attnpool_mm.AttnPoolMobileNetV2", None, "first_block"),
}
TYPES = {
    "maxp": "MaxPool2d",
    "avgp": "AvgPool2d",
    "lip": "LocalImportancePool2d",
    "gaussian_pool": "GaussianPool2d",
    "attnpool": "AttentionPool2d",
    "nlp": "SelfAttentivePool2d",
    "dfmnlp": "DeformableSelfAttentivePool2d",
    "mixp": "MixedPool2d",
    "dfmixp": "MixedPool2d",
}
ABLATIONS = {
    "nlpnoexp": "exp",
    "nlpnosigmoid": "sigmoid",
    "nlpnope": "position",
    "nlpnobn1": "embed_norm",
    "nlpnobn2": "restore_norm",
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("dy", ["", "dy"])
def test_backbones(name, dy):
    kind, depth, position = PLACES[name]
    strides = "2222121" if "mobile" in name else "4222"
    config = arch_to_config(f"{dy}{name}-nlp-{strides}")
    assert config["type"] == kind and config["pool_position"] == position
    assert config.get("depth") == depth
    assert config["strides"] == tuple(map(int, strides))
    conv_cfg = dict(type="DynamicConv2d") if dy else None
    assert config.get("conv_cfg") == conv_cfg
    pools = [pool for pool in config["pool_cfg"] if pool]
    assert [pool.get("conv_cfg") for pool in pools] == [conv_cfg] * len(pools)
    stem = None if "mobile" in name else dict(type="MaxPool2d", kernel_size=2)
    assert config.get("stem_pool_cfg") == stem


@pytest.mark.parametrize("pool", TYPES)
def test_pools_are_where_the_stride_is(pool):
    config = arch_to_config(f"resnet18-{pool}-1212")
    types = [cfg and cfg["type"] for cfg in config["pool_cfg"]]
    assert types == [None, TYPES[pool], None, TYPES[pool]]


def test_skip_is_the_strided_convolution():
    assert arch_to_config("mobilenet-skip-1222121")["pool_cfg"] == [None] * 7


@pytest.mark.parametrize("pool", ABLATIONS)
def test_ablations(pool):
    config = arch_to_config(f"resnet18-{pool}-1222")["pool_cfg"][1]
    assert config == {
        "type": "SelfAttentivePool2d", "num_heads": 8, "patch_size": 1,
        "normalize": True, ABLATIONS[pool]: False,
    }  # fmt: skip


@pytest.mark.parametrize("name, arch, stages", [
    ("mobilenetv3_small", "small", 11), ("mobilenetv3_large", "large", 15),
])  # fmt: skip
def test_mobilenet_v3(name, arch, stages):
    strides = (2,) * stages
    digits = "2" * stages
    config = arch_to_config(f"dy{name}-nlp_headfix2-{digits}")
    pool = dict(type="SelfAttentivePool2d", num_heads=2, patch_size=1, normalize=True)
    dynamic = dict(type="DynamicConv2d")
    assert config == dict(
        type="attnpool_mm.AttnPoolMobileNetV3", arch=arch, strides=strides,
        pool_cfg=[dict(pool, conv_cfg=dynamic)] * stages, conv_cfg=dynamic,
    )  # fmt: skip


@pytest.mark.parametrize("name, kind, first", [
    ("resnext50", "ResNeXt", dict(depth=50, groups=32, width_per_group=4)),
    ("regnetx_400mf", "RegNet", dict(arch="regnetx_400mf")),
])  # fmt: skip
def test_pooled_backbones(name, kind, first):
    plain = dict(type=f"mmpretrain.{kind}", strides=(1, 2, 1, 4), **first)
    lip = dict(type="LocalImportancePool2d")
    pooled = dict(type="attnpool_mm.PooledBackbone", backbone=plain)
    assert arch_to_config(f"{name}-lip-1214") == dict(
        pooled, pool_cfg=[lip] * 2, stages=["layer2", "layer4"]
    )
    # No stage has a pool
    none = dict(pool_cfg=None, stages=None)
    assert arch_to_config(f"{name}-skip-1214") == pooled | none
    # MMPretrain's classes look names up in its scope
    dynamic = arch_to_config(f"dy{name}-nlp-1214")
    assert dynamic["backbone"] == dict(
        plain, conv_cfg=dict(type="attnpool_mm.DynamicConv2d")
    )
    assert dynamic["pool_cfg"][0]["conv_cfg"] == dict(type="DynamicConv2d")


def by_stage(arch, key):
    return [pool and pool[key] for pool in arch_to_config(arch)["pool_cfg"]]


@pytest.mark.parametrize(
    "arch, heads, patches",
    [
        ("resnet18-nlp-2222", [4, 8, 16, 32], [1, 1, 1, 1]),
        ("resnet50-nlp_headfix2-2222", [2, 2, 2, 2], [1, 1, 1, 1]),
        ("resnet18-nlp_reduced-2222", [4, 8, 16, 32], [4, 2, 1, 1]),
        ("resnet18-nlp_reduced0211-1222", [None, 8, 16, 32], [None, 2, 1, 1]),
        ("resnet18-dfmnlp_reduced0842-1222", [None, 8, 16, 32], [None, 8, 4, 2]),
        ("mobilenet-nlp-2222222", [2, 4, 8, 16, 32, 64, 128], [1] * 7),
        ("mobilenet_v2-nlp_reduced-2222222", [2, 4, 8, 16, 32, 64, 128],
         [4, 4, 4, 2, 2, 1, 1]),
        ("resnext50-nlp_reduced-2222", [4, 8, 16, 32], [4, 2, 1, 1]),
        ("mobilenetv3_small-nlp-22222222222",
         [2, 4, 4, 8, 8, 8, 8, 8, 16, 16, 16], [1] * 11),
        ("mobilenetv3_large-nlp-222222222222222",
         [2, 4, 4, 8, 8, 8, 16, 16, 16, 16, 16, 16, 32, 32, 32], [1] * 15),
    ],
)  # fmt: skip
def test_heads_and_patches(arch, heads, patches):
    assert by_stage(arch, "num_heads") == heads
    assert by_stage(arch, "patch_size") == patches
    assert all(by_stage(arch, "normalize")[1:])


def test_nowin_and_the_order_of_suffixes():
    arch = "resnet18-nlp_headfix2_nowin_reduced-1222"
    assert by_stage(arch, "normalize") == [None, False, False, False]
    orders = itertools.permutations(["headfix2", "nowin", "reduced"])
    configs = [arch_to_config(f"resnet18-nlp_{'_'.join(o)}-1222") for o in orders]
    assert all(config == arch_to_config(arch) for config in configs)
    assert arch_to_config(arch.upper()) == arch_to_config(arch)


def test_mixtures():
    mixp, dfmixp = (
        arch_to_config(f"resnet18-{pool}_headfix2_nowin_reduced-1222")["pool_cfg"][1]
        for pool in ("mixp", "dfmixp")
    )
    attention = dict(num_heads=2, patch_size=2)
    lip = dict(type="LocalImportancePool2d")
    nlp = dict(type="SelfAttentivePool2d", **attention)
    deformable = dict(type="DeformableSelfAttentivePool2d", **attention)
    assert mixp == dict(type="MixedPool2d", pools=[lip, nlp], normalize=False)
    assert dfmixp == dict(
        type="MixedPool2d", pools=[deformable, dict(lip, kernel_size=2)],
        normalize=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "prepool, expected",
    [
        ("nlp-4", dict(num_heads=8, patch_size=2, stride=4)),
        ("nlp_headfix2_nowin-2", dict(num_heads=2, patch_size=2, stride=2)),
        ("nlp_reduced-4",
         dict(num_heads=8, patch_size=4, stride=4, embed_ratio=0.25)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("backbone", ["resnet18-skip-1222", "mobilenet-skip-1222121"])
def test_prepool(prepool, expected, backbone):
    config = arch_to_config(f"prepool-{prepool}-{backbone}")
    assert config["stem_stride"] == 1
    assert config["stem_pool_cfg"] == dict(
        type="SelfAttentivePool2d", normalize=True, **expected
    )


def test_plain_prepools():
    for pool, kind in TYPES.items():
        config = arch_to_config(f"prepool-{pool}-4-dyresnet18-skip-1222")
        assert config["stem_pool_cfg"]["type"] == kind
        assert config["stem_pool_cfg"]["stride"] == 4


def test_skip_prepools_are_no_layer():
    mobilenet = arch_to_config("prepool-skip-6-mobilenet-lip-1222121")
    assert mobilenet["stem_stride"] == 6 and "stem_pool_cfg" not in mobilenet
    arch = "prepool-skip-4-resnet18-skip-1222"
    with pytest.warns(UserWarning, match=f"arch='{arch}': .* 4 "):
        backbone = attn_pool_backbone(arch, out_indices=(0,))
    assert backbone.out_strides == (1,)


def test_dynamic_convolutions_in_the_pools():
    dynamic = dict(conv_cfg=dict(type="DynamicConv2d"))
    config = arch_to_config("prepool-nlp-4-dyresnet18-dfmixp-1222")
    assert config["stem_pool_cfg"].items() >= dynamic.items()
    for part in config["pool_cfg"][1]["pools"]:
        assert part.items() >= dynamic.items()


def test_spem():
    backbone = attn_pool_backbone("spem-29")
    assert type(backbone) is AttnPoolResNetCIFAR
    assert arch_to_config("SPEM-164")["depth"] == 164


def test_configs_are_plain_and_one_s_own():
    config = arch_to_config("dymobilenet-dfmixp_reduced-2222121")
    assert Config(config).to_dict() == config
    config["conv_cfg"]["type"] = config["pool_cfg"][0]["type"] = "changed"
    again = arch_to_config("dymobilenet-dfmixp_reduced-2222121")
    assert again["conv_cfg"]["type"] == "DynamicConv2d"
    assert again["pool_cfg"][0]["type"] == "MixedPool2d"


@pytest.mark.parametrize(
    "arch, message",
    [
        ("resnet19-nlp-1222", "backbone 'resnet19': .* 'resnet18'"),
        ("dyresnet19-nlp-1222", "backbone 'dyresnet19': .* 'dyresnet18'"),
        ("dydyresnet18-nlp-1222", "backbone 'dydyresnet18': .* 'dyresnet18'"),
        ("mobilenetv3-nlp-22121111211", "backbone 'mobilenetv3': .*v3_small"),
        ("regnetx-nlp-2222", "backbone 'regnetx': .* 'regnetx_400mf'"),
        ("prepol-nlp-4-resnet18-nlp-1222", "'prepol': .* 'prepool'"),
        ("sepm-164", "'sepm': .* 'spem'"),
        ("resnet18-nlpp-1222", "pool 'nlpp': .* skip, .* 'nlp'"),
        ("prepool-nlpp-4-resnet18-nlp-1222", "prepool's pool 'nlpp'"),
        ("prepool-nlp-4-resnet19-nlp-1222", "backbone 'resnet19'"),
        ("prepool-nlp-4-mobilenetv3_small-nlp-22121111211", "prepool: .*v3_small"),
        ("prepool-nlp-4-resnext50-nlp-1222", "prepool: .*resnext50"),
        ("resnet18-nlpheadfix2-1222", "pool 'nlpheadfix2': .* 'nlp_headfix2'"),
        ("resnet18-gaussian-1222", "pool 'gaussian': .* 'gaussian_pool'"),
        ("resnet18-lip_nowin-1222", "pool 'lip_nowin': .* nlp"),
        ("resnet18-nlp_nowim-1222", "suffix .* 'nowim': .* 'nowin'"),
        ("resnet18-nlp_nowin_nowin-1222", "pool 'nlp_nowin_nowin'"),
        ("resnet18-nlp_reduced_reduced0211-1222", "_reduced_reduced0211'"),
        ("mobilenet-nlp_reduced0842-1222121", "pool 'nlp_reduced0842': .* 4 .* 7$"),
        ("mobilenetv3_small-nlp_reduced-22121111211",
         "pool 'nlp_reduced': .* 4 or 7 .* 11$"),
        ("resnet18-nlp_reduced0211-2222", "pool 'nlp_reduced0211': .* 2$"),
        ("resnet18-nlp-122", "strides '122': 4"),
        ("resnet18-nlp-1022", "strides '1022': 4"),
        ("mobilenet-nlp-1222", "strides '1222': 7"),
        ("mobilenetv3_small-nlp-1222121", "strides '1222121': 11"),
        ("mobilenetv3_large-nlp-22121111211", "strides '22121111211': 15"),
        ("regnetx_400mf-nlp-222", "strides '222': 4 .* 2222$"),
        ("resnet18-nlp", "2 parts"),
        ("prepool-nlp-resnet18-nlp-1222", "5 parts"),
        ("prepool-nlp-x-resnet18-nlp-1222", "prepool stride 'x'"),
        ("prepool-nlp-1-resnet18-nlp-1222", "prepool stride '1': .* 2 .* 64"),
        ("prepool-nip-2-resnet18-nlp-1222", "pool 'nip'"),
        ("spem-21", "depth=21: .* 20 and 29"),
        ("spem", "depth ''"),
        ("", "backbone ''"),
        (18, "arch=18"),
    ],
)  # fmt: skip
def test_wrong_keywords(arch, message):
    with pytest.raises(ConfigError, match=message) as error:
        arch_to_config(arch)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"arch={arch!r}: ")


NAMES = ("nlp", "dfmnlp", "mixp", "dfmixp", *ABLATIONS)
POOLS = st.one_of(
    st.sampled_from(["skip", "maxp", "avgp", "lip", "gaussian_pool", "attnpool"]),
    st.builds(
        lambda name, *suffixes: name + "".join(suffixes),
        st.sampled_from(NAMES),
        st.sampled_from(["", "_headfix2"]),
        st.sampled_from(["", "_nowin"]),
        st.sampled_from(["", "_reduced"]),
    ),
)


@st.composite
def keywords(draw):
    backbone = draw(st.sampled_from(["resnet18", "resnet18_v2", "mobilenet",
                                     "mobilenet_v2"]))  # fmt: skip
    digits = 7 if "mobile" in backbone else 4
    strides = draw(st.lists(st.sampled_from("112"), min_size=digits, max_size=digits))
    prepool = ""
    if draw(st.booleans()):
        prepool = f"prepool-{draw(POOLS)}-{draw(st.sampled_from('24'))}-"
    dy = draw(st.sampled_from(["", "dy"]))
    return f"{prepool}{dy}{backbone}-{draw(POOLS)}-{''.join(strides)}"


@pytest.mark.filterwarnings("ignore:.*is average pooling")
@pytest.mark.filterwarnings("ignore:patch_size=.* is larger than")
@pytest.mark.filterwarnings("ignore:.*prepool-skip is no layer")
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    arch=keywords(), height=st.integers(17, 70), width=st.integers(17, 70),
    batch=st.integers(1, 3),
)  # fmt: skip
def test_random_keywords(arch, height, width, batch):
    torch.manual_seed(0)
    digits = len(arch.rsplit("-", 1)[1])
    backbone = attn_pool_backbone(arch, out_indices=range(digits))
    backbone.init_weights()
    backbone.eval()
    x = torch.rand(batch, 3, height, width)
    with torch.no_grad():
        outs = backbone(x)
        again = backbone(x)
        last = backbone.to(memory_format=torch.channels_last)(
            x.contiguous(memory_format=torch.channels_last)
        )
    for out, channels in zip(outs, backbone.out_channels, strict=True):
        assert out.shape[:2] == (batch, channels)
        assert out.isfinite().all()
    # Each stage's map is its predecessor's over the stride, rounded up or down.
    for i, stride in enumerate(arch_to_config(arch)["strides"][1:]):
        for before, after in zip(outs[i].shape[2:], outs[i + 1].shape[2:], strict=True):
            assert after in {max(1, before // stride), -(-before // stride)}
    for out, other in zip(outs, again, strict=True):
        assert torch.equal(out, other)
    for out, other in zip(outs, last, strict=True):
        # float32 rounding, amplified by up to 18 layers of random weights
        assert (out - other).abs().max() <= 1e-4 * max(1, out.abs().max())


@pytest.mark.parametrize("scope", ["mmdet", "mmpretrain"])
def test_the_keyword_backbone_in_both_frameworks(scope):
    cfg = dict(
        type="attnpool_mm.AttnPoolBackbone", arch="resnet18-nlp_headfix2_nowin-1222",
        out_indices=(1, 3), frozen_stages=1, norm_eval=True,
    )  # fmt: skip
    with DefaultScope.overwrite_default_scope(scope):
        backbone = MODELS.build(cfg)
    assert type(backbone) is AttnPoolResNet
    assert backbone.out_channels == (128, 512)
    assert backbone.frozen_stages == 1 and backbone.norm_eval
    assert isinstance(backbone.layer2.pool, SelfAttentivePool2d)


def test_dynamic_convolutions_are_everywhere_in_dy():
    backbone = attn_pool_backbone("dymobilenet_v2-nlp_headfix2_nowin-1222121")
    assert type(backbone) is AttnPoolMobileNetV2
    convs = {
        name for name, m in backbone.named_modules() if isinstance(m, torch.nn.Conv2d)
    }
    assert convs and all(re.search(r"attention\.fc[12]$", name) for name in convs)
    assert isinstance(backbone.layer2.pool.restore.conv, DynamicConv2d)


@pytest.mark.parametrize("arch, kind, channels", [
    ("mobilenetv3_small-lip-22121111211", "AttnPoolMobileNetV3", (16, 40)),
    ("dyresnext50-lip-1222", "ResNeXt", (512, 2048)),
    ("regnetx_400mf-nlp_headfix2_nowin-2222", "RegNet", (64, 384)),
])  # fmt: skip
def test_arguments_reach_the_network(arch, kind, channels):
    backbone = attn_pool_backbone(arch, out_indices=(1, 3 + ("v3" in arch)))
    assert type(backbone).__name__ == kind
    backbone.eval()
    outs = backbone(torch.rand(1, 3, 64, 64))
    assert [out.shape[1] for out in outs] == list(channels)
    assert backbone.out_channels == channels
    assert backbone.out_strides == tuple(64 / out.shape[3] for out in outs)
    dynamic = [m for m in backbone.layer2.modules() if isinstance(m, DynamicConv2d)]
    assert bool(dynamic) == arch.startswith("dy")
    kinds = (SelfAttentivePool2d, LocalImportancePool2d)
    pools = [m for m in backbone.modules() if isinstance(m, kinds)]
    strides = arch.rpartition("-")[2].replace("1", "")
    assert [pool.stride for pool in pools] == [int(stride) for stride in strides]


@pytest.mark.parametrize("arch", ["resnet18-skip-1222", "resnext50-skip-1222"])
def test_arguments_that_the_keyword_gives(arch):
    with pytest.raises(ConfigError, match=f"strides: .*arch={arch!r}"):
        attn_pool_backbone(arch, strides=(1, 2, 2, 2))


@pytest.mark.parametrize("arch", ["resnet18-skip-1222", "regnetx_400mf-lip-2222"])
def test_arguments_that_the_backbone_does_not_take(arch):
    with pytest.raises(ConfigError, match="foo: .*norm_eval"):
        attn_pool_backbone(arch, foo=1)


@pytest.mark.parametrize("scope, arch, channels", [
    ("mmdet", "mobilenet-lip-1222121", 1280),
    ("mmpretrain", "spem-20", 256),
    ("mmpretrain", "resnext50-skip-1222", 2048),
    ("mmdet", "regnetx_400mf-lip-2222", 384),
])  # fmt: skip
def test_the_classifier_follows_the_backbone(scope, arch, channels):
    head = dict(type="mmpretrain.LinearClsHead", num_classes=7)
    backbone = dict(type="attnpool_mm.AttnPoolBackbone", arch=arch)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(
            dict(type="attnpool_mm.AttnPoolClassifier", backbone=backbone, head=head)
        )
    assert model.head.in_channels == channels and "in_channels" not in head
    model.eval()
    assert model(torch.rand(2, 3, 32, 32), mode="tensor").shape == (2, 7)


def test_the_classifier_follows_a_backbone_of_one_number():
    backbone = dict(type="mmpretrain.EfficientNet", arch="b0")
    head = dict(type="mmpretrain.LinearClsHead", num_classes=7)
    model = AttnPoolClassifier(backbone, head=head).eval()
    assert model.head.fc.in_features == 1280
    assert model(torch.rand(1, 3, 32, 32), mode="tensor").shape == (1, 7)


def test_a_head_that_takes_no_channels_gets_none():
    backbone = dict(type="attnpool_mm.AttnPoolResNet", depth=18)
    model = AttnPoolClassifier(backbone, head=dict(type="ClsHead")).eval()
    (features,) = model(torch.rand(1, 3, 32, 32), mode="tensor")
    assert features.shape == (512,)


def test_a_head_of_several_hands_the_channels_on():
    backbone = dict(type="attnpool_mm.AttnPoolResNet", depth=18)
    tasks = dict.fromkeys("ab", dict(type="LinearClsHead", num_classes=2))
    head = dict(type="MultiTaskHead", task_heads=tasks)
    model = AttnPoolClassifier(backbone, head=head)
    assert [h.in_channels for h in model.head.task_heads.values()] == [512, 512]


def test_a_classifier_whose_backbone_does_not_say_its_channels():
    with pytest.raises(ConfigError, match="in_channels .*MobileNetV2"):
        AttnPoolClassifier(
            dict(type="mmpretrain.MobileNetV2"),
            head=dict(type="mmpretrain.LinearClsHead", num_classes=7),
        )
