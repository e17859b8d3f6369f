import pytest
import torch
from backbone_specs import MobilenetV3, build
from mmpretrain.models import MobileNetV3

from attnpool_mm.models import AttnPoolMobileNetV3
from attnpool_mm.utils.errors import ConfigError

NLP = dict(type="SelfAttentivePool2d")


def test_large_equals_the_parent():
    parent, ours = MobileNetV3("large"), AttnPoolMobileNetV3("large")
    ours.load_state_dict(parent.state_dict())
    parent.eval()
    ours.eval()
    x = torch.rand(1, 3, 64, 64)
    (out,), (expected,) = ours(x), parent(x)
    assert torch.equal(out, expected)
    assert ours.out_channels == (960,) and ours.out_strides == (32,)


def test_a_pool_follows_the_block():
    backbone = build(MobilenetV3, pool_cfg=NLP)
    backbone.eval()
    first, second = backbone(torch.rand(1, 3, 64, 64))[:2]
    # The same block at stride 1, without a pool
    strides = (2, 1, *MobilenetV3.strides[2:])
    plain = build(MobilenetV3, strides=strides)
    plain.load_state_dict(backbone.state_dict(), strict=False)
    plain.eval()
    block = plain.layer2(first)
    assert block.shape[2:] == first.shape[2:]
    assert torch.equal(second, backbone.layer2.pool(block))


def test_strides_of_one_network_are_not_those_of_another():
    build(MobilenetV3, strides=(4, *MobilenetV3.strides[1:]))
    assert AttnPoolMobileNetV3.arch_settings == MobileNetV3.arch_settings


def test_the_stem_is_output_0():
    backbone = build(MobilenetV3, pool_cfg=NLP, out_indices=(0, 12))
    stem, last = backbone(torch.rand(2, 3, 64, 64))
    assert stem.shape == (2, 16, 32, 32) and last.shape == (2, 288, 2, 2)
    assert backbone.out_channels == (16, 288) and backbone.out_strides == (2, 32)


@pytest.mark.parametrize("kwargs, message", [
    (dict(arch="medium"), "arch='medium'"),
    (dict(arch=None), "arch=None"),
    (dict(arch="large", strides=(1,) * 11), r"strides=\(1, 1, .*15"),
    (dict(strides=(0,) * 11), "strides=0"),
], ids=str)  # fmt: skip
def test_bad_arguments(kwargs, message):
    with pytest.raises(ConfigError, match=message) as error:
        build(MobilenetV3, **kwargs)
    assert "\n" not in str(error.value)
