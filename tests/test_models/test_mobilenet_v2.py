import pytest
import torch
from backbone_specs import Mobilenet, build
from mmpretrain.models import MobileNetV2

from attnpool_mm.models import AttnPoolMobileNetV2
from attnpool_mm.utils.errors import ConfigError

NLP = dict(type="SelfAttentivePool2d")


def test_stage_start_pools_the_stages_input():
    backbone = build(Mobilenet, pool_cfg=NLP)
    backbone.eval()
    first, second = backbone(torch.rand(1, 3, 64, 64))[:2]
    stage = dict(backbone.layer2.named_children())
    assert stage["pool"].in_channels == first.shape[1]
    assert torch.equal(second, stage["1"](stage["0"](stage["pool"](first))))


def test_first_block_pools_the_first_blocks_output():
    backbone = build(Mobilenet, pool_cfg=NLP, pool_position="first_block")
    backbone.eval()
    first, second = backbone(torch.rand(1, 3, 64, 64))[:2]
    stage = dict(backbone.layer2.named_children())
    assert stage["pool"].in_channels == second.shape[1]
    assert torch.equal(second, stage["1"](stage["pool"](stage["0"](first))))


def test_strides_of_one_network_are_not_those_of_another():
    backbone = build(Mobilenet, strides=(4, 2, 2, 2, 1, 2, 1))
    assert backbone.layer1[0].conv[0].conv.stride == (4, 4)
    assert AttnPoolMobileNetV2.arch_settings == MobileNetV2.arch_settings
    assert build(Mobilenet).layer1[0].conv[0].conv.stride == (1, 1)


def test_a_grey_image_is_one_of_three_equal_channels():
    grey = build(Mobilenet, in_channels=1, stem_stride=1)
    plain = build(Mobilenet, stem_stride=1)
    for backbone in (grey, plain):
        backbone.eval()
    weights = grey.state_dict()
    weights["conv1.conv.weight"] = weights["conv1.conv.weight"].repeat(1, 3, 1, 1) / 3
    plain.load_state_dict(weights)
    image = torch.rand(1, 1, 32, 32)
    outs = zip(grey(image), plain(image.expand(1, 3, 32, 32)), strict=True)
    for out, expected in outs:
        torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("channels", [0, 1.0, True])
def test_no_number_of_channels(channels):
    with pytest.raises(ConfigError, match="in_channels"):
        AttnPoolMobileNetV2(in_channels=channels)
