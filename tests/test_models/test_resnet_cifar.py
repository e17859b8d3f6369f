import math

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.models import ImageClassifier
from torch import nn

from attnpool_mm.models import AttnPoolResNetCIFAR
from attnpool_mm.models.resnet_cifar import blocks_per_stage
from attnpool_mm.pooling import SelfAttentivePool2d
from attnpool_mm.utils.errors import ConfigError

NLP = dict(type="SelfAttentivePool2d")
SPEM = dict(type="SPEM")


@pytest.mark.parametrize("depth, block", [(14, "basic"), (29, "bottleneck")])
def test_depth_counts_the_layers(depth, block):
    backbone = AttnPoolResNetCIFAR(depth, block=block)
    assert backbone.stage_blocks == (blocks_per_stage(depth, block),) * 3
    convs = [
        name
        for name, m in backbone.named_modules()
        if isinstance(m, nn.Conv2d) and "downsample" not in name
    ]
    assert len(convs) + 1 == depth  # and the classifier


@pytest.mark.parametrize("depth, block, count", [
    (8, "basic", 1), (1202, "basic", 200), (11, "bottleneck", 1),
    (1001, "bottleneck", 111),
])  # fmt: skip
def test_blocks_per_stage(depth, block, count):
    assert blocks_per_stage(depth, block) == count


def test_deeper_networks_learn():
    backbone = AttnPoolResNetCIFAR(56, "basic", attention_cfg=SPEM, pool_cfg=NLP)
    (out,) = backbone(torch.rand(2, 3, 32, 32))
    assert out.shape == (2, 64, 8, 8)
    out.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in backbone.parameters())


def test_the_number_of_parameters_is_the_published_one():
    # He et al., CVPR 2016, table 6: 0.27 M and 1.7 M (ours project two shortcuts)
    for depth, millions in ((20, 0.27), (110, 1.7)):
        backbone = AttnPoolResNetCIFAR(depth, "basic")
        count = sum(p.numel() for p in backbone.parameters()) + 64 * 10 + 10
        assert count / 1e6 == pytest.approx(millions, rel=0.03)


def test_initial_weights():
    backbone = AttnPoolResNetCIFAR(20, zero_init_residual=True)
    for parameter in backbone.parameters():
        nn.init.constant_(parameter, 7)
    backbone.init_weights()
    for name, module in backbone.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            weight = 0 if name.endswith("bn3") else 1  # the block's last
            assert (module.weight == weight).all() and (module.bias == 0).all()
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            std = module.weight.std().item()
            assert std == pytest.approx((2 / fan_out) ** 0.5, rel=0.2)


def test_stem():
    backbone = AttnPoolResNetCIFAR(
        20, in_channels=1, stem_channels=8, stem_pool_cfg=dict(NLP, patch_size=3)
    )
    assert backbone.conv1.weight.shape == (8, 1, 3, 3)
    assert isinstance(backbone.maxpool, SelfAttentivePool2d)
    assert backbone(torch.rand(2, 1, 32, 32))[0].shape == (2, 256, 4, 4)
    backbone = AttnPoolResNetCIFAR(20, stem_stride=2)
    assert backbone(torch.rand(2, 3, 32, 32))[0].shape == (2, 256, 4, 4)


def test_width():
    backbone = AttnPoolResNetCIFAR(14, "basic", stem_channels=8, base_channels=8)
    assert backbone(torch.rand(2, 3, 32, 32))[0].shape == (2, 32, 8, 8)
    assert backbone.out_channels == (32,)


@pytest.mark.parametrize("position, block", [("stage_end", 1), ("first_block", 0)])
def test_layer_depth(position, block):
    backbone = AttnPoolResNetCIFAR(20, pool_cfg=NLP, pool_position=position)
    depths = {
        "conv1.weight": 0,
        "layer1.0.conv1.weight": 1,
        "layer1.1.attention.w1": 2,
        "layer2.1.bn1.bias": 4,
        "layer2.pool.embed.conv.weight": 3 + block,
        "layer3.1.conv3.weight": 6,
    }
    for name, depth in depths.items():
        for prefix in ("", "backbone."):
            assert backbone.get_layer_depth(prefix + name, prefix) == (depth, 8)
    assert backbone.get_layer_depth("head.fc.weight", "backbone.") == (7, 8)


def test_layer_wise_learning_rates(mmpretrain_scope):
    model = ImageClassifier(
        backbone=dict(
            type="attnpool_mm.AttnPoolResNetCIFAR",
            **dict(depth=20, pool_cfg=NLP, attention_cfg=SPEM),
        ),
        head=dict(type="LinearClsHead", num_classes=10, in_channels=256),
    )
    cfg = dict(
        constructor="mmpretrain.LearningRateDecayOptimWrapperConstructor",
        paramwise_cfg=dict(layer_decay_rate=0.5),
        optimizer=dict(type="SGD", lr=1.0, weight_decay=0.0),
    )
    groups = build_optim_wrapper(model, cfg).optimizer.param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert rates[id(model.head.fc.weight)] == 1
    assert rates[id(model.backbone.layer3[1].conv1.weight)] == 0.5
    assert rates[id(model.backbone.layer3.pool.embed.conv.weight)] == 0.5
    assert rates[id(model.backbone.layer1[0].attention.w1)] == 0.5**6
    assert rates[id(model.backbone.conv1.weight)] == 0.5**7


@pytest.mark.parametrize("depth, block, message", [
    (50, "bottleneck", "depth=50: .* 47 and 56$"),
    (83, "basic", "depth=83: .* 80 and 86$"),
    (2, "basic", "depth=2: .* 8 and 14$"),
    (-7, "bottleneck", "depth=-7: .* 11 and 20$"),
    ("20", "basic", "depth='20'"),
    (None, "basic", "depth=None"),
    (20, "se", "block='se'"),
])  # fmt: skip
def test_bad_depth_or_block(depth, block, message):
    with pytest.raises(ConfigError, match=message):
        AttnPoolResNetCIFAR(depth, block)
