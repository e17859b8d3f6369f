import pytest
import torch
from backbone_specs import Resnet, build, stages
from mmpretrain.models import ResNet
from torch import nn

from attnpool_mm.models import AttnPoolResNet
from attnpool_mm.utils.errors import ConfigError

NLP = dict(type="SelfAttentivePool2d")
SMALL = dict(stem_channels=16, base_channels=16)
POSITIONS = pytest.mark.parametrize("position", ["stage_end", "first_block"])


@pytest.mark.parametrize("depth", [34, 50])  # of each kind of block, 18 elsewhere
def test_without_a_pool_equals_the_parent(depth):
    parent, ours = ResNet(depth, **SMALL), AttnPoolResNet(depth, **SMALL)
    ours.load_state_dict(parent.state_dict())
    parent.eval()
    ours.eval()
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(ours(x)[0], parent(x)[0])


def test_the_depths_are_the_parents():
    assert AttnPoolResNet.arch_settings == ResNet.arch_settings


def test_stage_end_pools_the_whole_stages_output():
    backbone = build(Resnet, pool_cfg=NLP)
    backbone.eval()
    first, second = backbone(torch.rand(1, 3, 64, 64))[:2]
    stage = dict(backbone.layer2.named_children())
    blocks = stage["1"](stage["0"](first))
    assert blocks.shape[-1] == first.shape[-1]
    assert torch.equal(second, stage["pool"](blocks))


def test_first_block_pools_the_first_blocks_output():
    backbone = build(Resnet, pool_cfg=NLP, pool_position="first_block")
    backbone.eval()
    first, second = backbone(torch.rand(1, 3, 64, 64))[:2]
    stage = dict(backbone.layer2.named_children())
    assert torch.equal(second, stage["1"](stage["pool"](stage["0"](first))))


@POSITIONS
def test_a_stage_without_a_pool_after_one_with_a_pool(position):
    strides = (2, 1, 2, 1)
    backbone = build(Resnet, strides=strides, pool_cfg=NLP, pool_position=position)
    pooled = [hasattr(stage, "pool") for stage in stages(backbone, Resnet)]
    assert pooled == [True, False, True, False]
    outs = backbone(torch.rand(2, 3, 64, 64))
    assert [out.shape[1:3] for out in outs] == [(16, 8), (32, 8), (64, 4), (128, 4)]
    assert backbone.out_strides == (8, 8, 16, 16)


def test_the_projection_of_a_strided_stage_that_keeps_its_channels():
    # A strided block needs one there: after it, the pool keeps it. A stage at stride 1
    # needs none.
    strides = dict(strides=(2, 2, 2, 2), **SMALL)
    names = set(ResNet(18, **strides).state_dict())
    pooled = {
        position: AttnPoolResNet(18, pool_cfg=NLP, pool_position=position, **strides)
        for position in ("first_block", "stage_end")
    }
    missing = {p: names - set(net.state_dict()) for p, net in pooled.items()}
    assert missing["first_block"] == set()
    projection = {name for name in names if name.startswith("layer1.0.downsample.")}
    assert missing["stage_end"] == projection != set()


@POSITIONS
def test_averaging_shortcuts_keep_their_names(position):
    # ResNet-D; with the projection of layer1 that has no average pooling
    kwargs = dict(depth=50, avg_down=True, deep_stem=True, **SMALL)
    names = list(ResNet(**kwargs).state_dict())
    ours = AttnPoolResNet(**kwargs, pool_cfg=NLP, pool_position=position)
    assert [name for name in ours.state_dict() if ".pool." not in name] == names
    assert ours(torch.rand(2, 3, 64, 64))[0].shape == (2, 512, 2, 2)


def test_deep_stem():
    stem = dict(deep_stem=True, stem_stride=1, stem_pool_cfg=NLP)
    backbone = AttnPoolResNet(18, out_indices=(0,), **stem, **SMALL)
    assert backbone(torch.rand(1, 3, 32, 32))[0].shape[-1] == 16


def test_dilations():
    kwargs = dict(depth=18, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), **SMALL)
    parent = ResNet(**kwargs)
    ours = AttnPoolResNet(**kwargs, pool_cfg=NLP)
    x = torch.rand(2, 3, 64, 64)
    assert ours(x)[0].shape == parent(x)[0].shape == (2, 128, 8, 8)
    dilations, expected = (
        [m.dilation for name, m in network.named_modules()
         if isinstance(m, nn.Conv2d) and ".pool." not in name]
        for network in (ours, parent)
    )  # fmt: skip
    assert dilations == expected


def test_fewer_stages():
    stages = dict(num_stages=2, strides=(1, 2))
    backbone = AttnPoolResNet(18, **stages, pool_cfg=NLP, **SMALL)
    assert backbone(torch.rand(2, 3, 32, 32))[0].shape == (2, 32, 4, 4)


@pytest.mark.parametrize("position, block", [("stage_end", 5), ("first_block", 0)])
def test_layer_depth_of_a_pool_is_that_of_its_block(position, block):
    backbone = AttnPoolResNet(50, pool_cfg=NLP, pool_position=position, **SMALL)
    pool, same = (
        backbone.get_layer_depth(f"backbone.layer3.{name}.weight", "backbone.")
        for name in ("pool.embed.conv", f"{block}.conv1")
    )
    assert pool == same


def test_images_of_one_colour_channel():
    backbone = build(Resnet, in_channels=1, pool_cfg=NLP)
    assert backbone(torch.rand(2, 1, 32, 32))[-1].shape == (2, 128, 1, 1)


@pytest.mark.parametrize("depth", [17, "18", None])
def test_bad_depth(depth):
    with pytest.raises(ConfigError, match=f"depth={depth!r}"):
        AttnPoolResNet(depth)


def test_bad_number_of_stages():
    with pytest.raises(ConfigError, match="num_stages=5"):
        AttnPoolResNet(18, num_stages=5)


def test_bad_dilations():
    with pytest.raises(ConfigError, match=r"dilations=\(1, 2\)"):
        AttnPoolResNet(18, dilations=(1, 2))
