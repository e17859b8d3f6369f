"""Networks of narrower layers, from the shapes in a config."""

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

from attnpool_mm.layers import SPEM, DynamicConv2d
from attnpool_mm.models import pruned_model
from attnpool_mm.models.pruned import changed_shapes, narrow, set_channels
from attnpool_mm.pooling import LearnedPosition2d, SelfAttention, build_pool
from attnpool_mm.utils.errors import ConfigError

LAYERS = {
    "convolution": (nn.Conv2d(8, 6, 3), nn.Conv2d(5, 4, 3)),
    "without bias": (nn.Conv2d(8, 6, 3, bias=False), nn.Conv2d(5, 4, 3, bias=False)),
    "grouped": (nn.Conv2d(8, 12, 3, groups=4), nn.Conv2d(4, 8, 3, groups=4)),
    "depthwise": (nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(5, 5, 3, groups=5)),
    "two a channel": (nn.Conv2d(8, 16, 3, groups=8), nn.Conv2d(5, 10, 3, groups=5)),
    "one channel": (nn.Conv2d(1, 8, 3), nn.Conv2d(1, 5, 3)),
    "transposed": (nn.ConvTranspose2d(8, 6, 3), nn.ConvTranspose2d(5, 4, 3)),
    "dynamic": (DynamicConv2d(8, 6, 3), DynamicConv2d(8, 4, 3)),
    "linear": (nn.Linear(8, 6), nn.Linear(5, 4)),
    "batch norm": (nn.BatchNorm2d(8), nn.BatchNorm2d(5)),
    "statistics": (nn.BatchNorm2d(8, affine=False), nn.BatchNorm2d(5, affine=False)),
    "group norm": (nn.GroupNorm(2, 8), nn.GroupNorm(2, 6)),
    "instance norm": (
        nn.InstanceNorm2d(8, affine=True),
        nn.InstanceNorm2d(5, affine=True),
    ),
    "layer norm": (nn.LayerNorm(8), nn.LayerNorm(5)),
    "PReLU": (nn.PReLU(8), nn.PReLU(5)),
    "SPEM": (SPEM(8), SPEM(5)),
    "attention": (SelfAttention(8, 2), SelfAttention(6, 2)),
    "positions": (LearnedPosition2d(8), LearnedPosition2d(5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_as_one_built_narrow(name):
    whole, narrower = LAYERS[name]
    shapes = changed_shapes(whole, narrower)
    narrow(whole, shapes)
    assert str(whole) == str(narrower)
    for key in narrower.__constants__ if hasattr(narrower, "__constants__") else ():
        assert getattr(whole, key) == getattr(narrower, key)
    whole.load_state_dict(narrower.state_dict())
    assert changed_shapes(whole, narrower) == {}


def test_what_is_left_has_its_first_values_and_its_freezing():
    layer = nn.Linear(4, 3).requires_grad_(False)
    first = layer.weight[:2, :3].clone()
    narrow(layer, {"weight": "2x3", "bias": "2"})
    assert torch.equal(layer.weight, first) and not layer.weight.requires_grad
    assert isinstance(layer.weight, nn.Parameter)


def test_a_shared_layer_stays_shared():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    shared = nn.Linear(3, 3)
    narrow(model, changed_shapes(model, nn.Sequential(shared, nn.ReLU(), shared)))
    assert model[0] is model[2] and model(torch.rand(1, 3)).shape == (1, 3)


def test_channels_of_what_has_no_parameters():
    pools = [build_pool(dict(type=t), 8, 2) for t in ("BlurPool2d", "SoftPool2d")]
    model = nn.Sequential(nn.Conv2d(3, 5, 1), *pools)
    model.out_channels, model.out_strides = (8,), (4,)
    model.init_cfg = None
    set_channels(model)
    assert [m.in_channels for m in model] == [3, 5, 5]
    assert model.out_channels == (5,) and model.out_strides == (4,)


def test_a_detector_in_a_config():
    cfg = dict(
        network="RetinaNet",
        backbone=dict(
            type="attnpool_mm.AttnPoolResNet",
            depth=18,
            base_channels=8,
            stem_channels=8,
            out_indices=(1, 2, 3),
            pool_cfg=dict(type="SelfAttentivePool2d"),
        ),
        neck=dict(type="FPN", in_channels=[16, 32, 64], out_channels=8, num_outs=3),
        bbox_head=dict(
            type="RetinaHead",
            num_classes=2,
            in_channels=8,
            anchor_generator=dict(
                type="AnchorGenerator", scales=[4], ratios=[1.0], strides=[8, 16, 32]
            ),
        ),
    )
    shapes = {"neck.lateral_convs.0.conv.weight": "8x12x1x1"}
    pool = "backbone.layer2.pool"
    cut = [f"{pool}.restore.{name}" for name in ("conv.bias", "norm.weight",
           "norm.bias", "norm.running_mean", "norm.running_var")]  # fmt: skip
    shapes |= dict.fromkeys(cut, "12")
    shapes[f"{pool}.embed.conv.weight"] = "16x12x1x1"
    shapes[f"{pool}.restore.conv.weight"] = "12x16x1x1"
    shapes["backbone.layer3.0.conv1.weight"] = "32x12x3x3"
    shapes["backbone.layer3.0.downsample.0.weight"] = "32x12x1x1"
    for block in range(2):
        of_block = f"backbone.layer2.{block}"
        shapes[f"{of_block}.conv2.weight"] = "12x16x3x3"
        norms = ["bn2", "downsample.1"][: 2 - block]
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes |= {f"{of_block}.{norm}.{name}": "12" for norm in norms}
    shapes["backbone.layer2.0.downsample.0.weight"] = "12x8x1x1"
    shapes["backbone.layer2.1.conv1.weight"] = "16x12x3x3"
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = pruned_model(shapes=shapes, image_size=(64, 64), **cfg)
    assert type(model).__name__ == "RetinaNet"
    assert model.backbone.out_channels == (12, 32, 64)
    assert model.backbone.layer2.pool.in_channels == 12
    assert model.backbone.layer2[1].conv1.in_channels == 12
    maps = model.extract_feat(torch.rand(1, 3, 64, 64))
    assert [m.shape[1:] for m in maps] == [(8, 8, 8), (8, 4, 4), (8, 2, 2)]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(network="Conv3"), ["network", "Conv3"]),
        (dict(shapes={"weights": "1"}), ["weights"]),
        (dict(shapes={"weight": "9x3x1x1"}), ["weight", "8x3x1x1"]),
        (dict(shapes={"weight": "8x3"}), ["weight"]),
        (dict(shapes={"weight": 8}), ["weight=8"]),
        (dict(shapes={"weight": "ax3x1x1"}), ["weight"]),
        (dict(shapes=[8]), ["shapes=[8]"]),
        (dict(kernel=3), ["kernel"]),
        (dict(image_size=32), ["image_size=32"]),
        (dict(image_size=(0, 0)), ["image_size"]),
    ],
)
def test_wrong_arguments(arguments, words):
    layer = dict(in_channels=3, out_channels=8, kernel_size=1)
    arguments = dict(network=nn.Conv2d, shapes={}) | layer | arguments
    with pytest.raises(ConfigError) as error:
        pruned_model(**arguments)
    assert all(word in str(error.value) for word in words)


def test_a_width_that_is_no_multiple_of_the_heads():
    narrower = {"in_proj_weight": "21x7", "in_proj_bias": "21"}
    with pytest.raises(ConfigError, match="2 heads"):
        narrow(SelfAttention(8, 2), narrower)
