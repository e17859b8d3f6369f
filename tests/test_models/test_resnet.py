import pytest
import torch
from mmpretrain.models import ResNet

from attnpool_mm.models import AttnPoolResNet
from attnpool_mm.pooling import SelfAttentivePool2d
from attnpool_mm.utils.errors import ConfigError

NLP = dict(type="SelfAttentivePool2d")


@pytest.mark.parametrize("depth", [34, 50, 101, 152])
def test_each_depth_equals_the_parent(depth):
    small = dict(depth=depth, base_channels=8, stem_channels=8)
    parent, ours = ResNet(**small), AttnPoolResNet(**small)
    ours.load_state_dict(parent.state_dict())
    parent.eval()
    ours.eval()
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(ours(x)[0], parent(x)[0])


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
@pytest.mark.parametrize("position", ["stage_end", "first_block"])
def test_each_depth_with_pools(depth, position):
    backbone = AttnPoolResNet(
        depth, base_channels=8, stem_channels=8, pool_cfg=NLP, pool_position=position
    )
    width = 8 * 8 * (1 if depth < 50 else 4)
    assert backbone(torch.rand(2, 3, 64, 64))[0].shape == (2, width, 2, 2)


def test_stage_end_pools_the_whole_stages_output():
    backbone = AttnPoolResNet(18, pool_cfg=NLP, out_indices=(0, 1))
    backbone.eval()
    first, second = backbone(torch.rand(1, 3, 64, 64))
    stage = backbone.layer2
    blocks = stage[1](stage[0](first))
    assert blocks.shape[-1] == first.shape[-1]
    assert torch.equal(second, stage.pool(blocks))


def test_first_block_pools_the_first_blocks_output():
    backbone = AttnPoolResNet(
        18, pool_cfg=NLP, pool_position="first_block", out_indices=(0, 1)
    )
    backbone.eval()
    first, second = backbone(torch.rand(1, 3, 64, 64))
    stage = backbone.layer2
    assert torch.equal(second, stage[1](stage.pool(stage[0](first))))


def test_a_strided_checkpoint_with_a_strided_first_stage_loads():
    strides = (2, 2, 2, 2)
    parent = ResNet(18, strides=strides)
    ours = AttnPoolResNet(
        18, strides=strides, pool_cfg=NLP, pool_position="first_block"
    )
    missing, unexpected = ours.load_state_dict(parent.state_dict(), strict=False)
    assert unexpected == [] and all(".pool." in key for key in missing)


def test_deep_stem():
    backbone = AttnPoolResNet(
        18, deep_stem=True, stem_stride=1, stem_pool_cfg=NLP, out_indices=(0,)
    )
    assert backbone(torch.rand(1, 3, 32, 32))[0].shape[-1] == 16


@pytest.mark.parametrize("position", ["stage_end", "first_block"])
def test_averaging_shortcuts_keep_their_names(position):
    # ResNet-D; with the projection of layer1 that has no average pooling
    kwargs = dict(depth=50, base_channels=8, stem_channels=8, avg_down=True)
    parent = ResNet(**kwargs)
    ours = AttnPoolResNet(**kwargs, pool_cfg=NLP, pool_position=position)
    missing, unexpected = ours.load_state_dict(parent.state_dict(), strict=False)
    assert unexpected == [] and all(".pool." in key for key in missing)
    assert ours(torch.rand(2, 3, 64, 64))[0].shape == (2, 256, 2, 2)


def test_fewer_stages():
    backbone = AttnPoolResNet(18, num_stages=2, strides=(1, 2), pool_cfg=NLP)
    assert backbone(torch.rand(2, 3, 32, 32))[0].shape == (2, 128, 4, 4)


@pytest.mark.parametrize("position, block", [("stage_end", 5), ("first_block", 0)])
def test_layer_depth_of_a_pool_is_that_of_its_block(position, block):
    backbone = AttnPoolResNet(50, pool_cfg=NLP, pool_position=position)
    pool = backbone.get_layer_depth(
        "backbone.layer3.pool.embed.conv.weight", "backbone."
    )
    same = backbone.get_layer_depth(
        f"backbone.layer3.{block}.conv1.weight", "backbone."
    )
    assert pool == same


def test_images_of_one_colour_channel():
    backbone = AttnPoolResNet(18, in_channels=1, pool_cfg=NLP)
    assert backbone(torch.rand(2, 1, 32, 32))[0].shape == (2, 512, 1, 1)


@pytest.mark.parametrize("depth", [17, "18", None])
def test_bad_depth(depth):
    with pytest.raises(
        ConfigError, match="depth=.*: accepted are 18, 34, 50, 101, 152"
    ):
        AttnPoolResNet(depth)


def test_printing_shows_the_pools():
    text = str(AttnPoolResNet(18, pool_cfg=NLP))
    assert text.count(SelfAttentivePool2d.__name__) == 3
    assert "pool at stage_end" in text
