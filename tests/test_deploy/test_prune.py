"""Pruned networks, held against the whole ones with zeros for what is cut."""

import sys
from copy import deepcopy

import pytest
import torch
from oracles import randomized
from torch import nn

from attnpool_mm.analysis import measure_complexity
from attnpool_mm.deploy.prune import prune_network
from attnpool_mm.layers import SPEM, DynamicConv2d
from attnpool_mm.models.pruned import changed_shapes, narrow, set_channels
from attnpool_mm.pooling import build_pool, pool_names
from attnpool_mm.registry import MODELS
from attnpool_mm.utils.errors import ConfigError

SIZE = (3, 10, 10)
DYNAMIC = dict(type="DynamicConv2d", num_kernels=2)
POOLS = {name: dict(type=name) for name in pool_names()} | {
    "AdaptiveExponentialPool2d grid": dict(
        type="AdaptiveExponentialPool2d", grid_size=3
    ),
    "BlurPool2d small": dict(type="BlurPool2d", kernel_size=7),
    "LocalImportancePool2d original": dict(
        type="LocalImportancePool2d", form="original", hidden_channels=6
    ),
    "SelfAttentivePool2d patches": dict(
        type="SelfAttentivePool2d", patch_size=2, num_heads=4, normalize=False
    ),
    "SelfAttentivePool2d plain": dict(
        type="SelfAttentivePool2d", position=False, embed_norm=False, sigmoid=False
    ),
    "SelfAttentivePool2d dynamic": dict(type="SelfAttentivePool2d", conv_cfg=DYNAMIC),
    "SoftPool2d overlap": dict(type="SoftPool2d", window=3, padding=1),
    "MixedPool2d deformable": dict(
        type="MixedPool2d",
        pools=[
            dict(type="DeformableSelfAttentivePool2d", patch_size=2),
            dict(type="LocalImportancePool2d", kernel_size=2),
        ],
    ),
}


class Network(nn.Module):
    """A residual sum, a pool and a classifier."""

    def __init__(self, pool, groups=1, inside=None):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16))
        self.conv = nn.Conv2d(16, 24, 3, padding=1, groups=groups)
        self.norm = nn.BatchNorm2d(24)
        self.back = nn.Conv2d(24, 16, 1, bias=False)
        self.inside = inside or nn.Identity()
        self.pool = pool
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x).relu()
        x = x + self.inside(self.back(self.norm(self.conv(x)).relu()))
        return self.fc(self.pool(x.relu()).mean((2, 3)))


def with_zeros(model, pruned):
    """`model` with zeros where `pruned`, whose values are some of its, has none."""
    model, small = deepcopy(model), pruned.state_dict()
    for name, tensor in model.state_dict().items():
        if tensor.shape == small[name].shape or "running" in name:
            continue
        left = torch.isin(tensor, small[name])
        if "in_proj" in name:  # the queries are scaled
            left = left.chunk(3)[2].repeat(3, *[1] * (tensor.dim() - 1))
        tensor.mul_(left)
    return model


def assert_is_part(model, pruned, x, rtol=1e-6):
    with torch.no_grad():
        expected, actual = with_zeros(model, pruned)(x), pruned(x)
        whole = model(x)
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=1e-9)
    assert not torch.allclose(whole, expected, rtol=1e-3)


@pytest.mark.parametrize(
    "name, ratio",
    [(name, 0.5) for name in POOLS]
    + [(name, 0.25) for name in POOLS if "Attenti" in name],
)
def test_every_pool(name, ratio):
    model = randomized(Network(build_pool(POOLS[name], 16, 2)), std=0.3).eval().double()
    pruned = prune_network(model, SIZE, ratio)
    x = torch.rand(2, *SIZE, dtype=torch.float64)
    assert_is_part(model, pruned, x)
    width = round(16 * (1 - ratio))
    assert pruned.stem[0].out_channels == pruned.fc.in_features == width
    assert pruned.fc.out_features == 5 and pruned.stem[0].in_channels == 3

    again = deepcopy(model)
    narrow(again, changed_shapes(model, pruned))
    again.load_state_dict(pruned.state_dict())
    set_channels(again, SIZE[1:])
    with torch.no_grad():
        assert torch.equal(again(x), pruned(x))
    if hasattr(again.pool, "in_channels"):
        assert again.pool.in_channels == width

    pruned.train()(x).square().sum().backward()
    for parameter_name, parameter in pruned.named_parameters():
        assert parameter.grad is not None, parameter_name


@pytest.mark.parametrize(
    "network",
    [
        Network(nn.AvgPool2d(2), inside=SPEM(16)),
        Network(nn.AvgPool2d(2), inside=SPEM(16, pooling="avg")),
        Network(nn.AvgPool2d(2), groups=4),
        Network(nn.AvgPool2d(2), groups=8),
        Network(nn.AvgPool2d(2), inside=DynamicConv2d(16, 16, 3, padding=1)),
    ],
    ids=["SPEM", "SPEM, average", "4 groups", "8 groups", "dynamic convolution"],
)
def test_other_layers(network):
    model = randomized(network, std=0.3).eval().double()
    pruned = prune_network(model, SIZE, 0.5)
    assert_is_part(model, pruned, torch.rand(2, *SIZE, dtype=torch.float64))
    assert pruned.conv.groups == model.conv.groups
    again = deepcopy(model)
    narrow(again, changed_shapes(model, pruned))
    assert str(again) == str(pruned)


def test_a_network_of_depthwise_convolutions_and_a_concatenation():
    class Inverted(nn.Module):
        def __init__(self):
            super().__init__()
            self.expand = nn.Conv2d(3, 12, 1)
            self.depthwise = nn.Conv2d(12, 12, 3, groups=12, padding=1)
            self.other = nn.Conv2d(3, 8, 1)
            self.last = nn.Conv2d(20, 4, 1)

        def forward(self, x):
            y = self.depthwise(self.expand(x).relu()).relu()
            return self.last(torch.cat([y, self.other(x).relu()], 1))

    model = randomized(Inverted()).double()
    pruned = prune_network(model, SIZE, 0.25)
    assert pruned.depthwise.groups == pruned.depthwise.out_channels == 9
    assert pruned.last.in_channels == 9 + 6
    assert_is_part(model, pruned, torch.rand(2, *SIZE, dtype=torch.float64))
    again = deepcopy(model)
    narrow(again, changed_shapes(model, pruned))
    assert str(again) == str(pruned)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_loses_as_much_in_each_head(heads):
    pool = build_pool(dict(type="SelfAttentivePool2d", num_heads=heads), 16, 2)
    model = randomized(nn.Sequential(nn.Conv2d(3, 16, 1), pool)).eval()
    pruned = prune_network(nn.Sequential(model, nn.Conv2d(16, 2, 1)), SIZE, 0.25)
    attention = pruned[0][1].attention
    assert (attention.embed_dim, attention.head_dim) == (12, 12 // heads)
    kept = torch.isin(pool.embed.conv.weight, pruned[0][1].embed.conv.weight)
    kept = kept.flatten(1).any(1)
    assert kept.view(heads, -1).sum(1).tolist() == [12 // heads] * heads
    # A channel's position goes with it
    position = pruned[0][1].position(5, 7)
    assert torch.equal(position, pool.position(5, 7)[kept])


NLP = dict(type="SelfAttentivePool2d", normalize=False)
BACKBONES = {
    "frozen ResNet": dict(
        type="AttnPoolResNet", depth=18, base_channels=4, stem_channels=4, pool_cfg=NLP,
        frozen_stages=1, norm_eval=True,
    ),
    "MobileNetV2, last stages unused": dict(
        type="AttnPoolMobileNetV2", widen_factor=0.1, pool_cfg=NLP, out_indices=(3,)
    ),
    "ResNet-20 with SPEM": dict(
        type="AttnPoolResNetCIFAR", depth=20, block="basic", base_channels=4,
        attention_cfg=dict(type="SPEM"),
    ),
    "MobileNetV3": dict(
        type="PooledBackbone", pool_cfg=NLP,
        backbone=dict(type="mmpretrain.MobileNetV3", arch="small_050"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones(name):
    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = MODELS.build(BACKBONES[name])
            self.fc = nn.Linear(self.backbone.out_channels[-1], 5)

        def forward(self, x):
            return self.fc(self.backbone(x)[-1].mean((2, 3)))

    model = randomized(Classifier(), std=0.3).double()
    pruned = prune_network(model, (3, 32, 32), 0.5)
    model.eval()
    assert_is_part(model, pruned, torch.rand(2, 3, 32, 32, dtype=torch.float64))
    layers = zip(model.backbone.modules(), pruned.backbone.modules(), strict=True)
    for whole, part in layers:
        if isinstance(whole, nn.Conv2d):
            assert part.out_channels == max(1, whole.out_channels // 2)
        if isinstance(whole, SPEM):
            assert part.in_channels == whole.in_channels // 2


def test_the_channels_of_the_smallest_weights_go():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 5, 1))
    norms = torch.tensor([3.0, 0.1, 2.0, 0.4, 5.0, 0.3, 0.2, 4.0])
    with torch.no_grad():
        model[0].weight.copy_(norms.view(8, 1, 1, 1).expand(8, 3, 1, 1))
        model[2].weight.fill_(1)
    pruned = prune_network(model, SIZE, 0.4)
    assert pruned[0].weight[:, 0, 0, 0].tolist() == norms[[0, 2, 4, 7]].tolist()


@pytest.mark.parametrize("ratio, left", [(0.01, 9), (0.8, 2), (0.99, 1)])
def test_a_layer_keeps_at_least_one_channel(ratio, left):
    model = nn.Sequential(nn.Conv2d(3, 10, 1), nn.Conv2d(10, 2, 1))
    assert prune_network(model, SIZE, ratio)[0].out_channels == left


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_the_peak_in_the_pool_falls(ratio):
    pool = build_pool(dict(type="SelfAttentivePool2d", normalize=False), 32, 2)
    model = nn.Sequential(nn.Conv2d(3, 32, 3), pool, nn.Conv2d(32, 10, 1))
    pruned = prune_network(model, SIZE, ratio)
    before, after = (measure_complexity(m, SIZE) for m in (model, pruned))
    assert before.peak.module.startswith("1.")
    assert after.peak.live_bytes == round((1 - ratio) * before.peak.live_bytes)
    assert after.flops < (1 - ratio) * before.flops


def test_the_model_stays():
    pool = build_pool(dict(type="GaussianPool2d"), 16, 2)
    model = Network(pool, inside=SPEM(16)).requires_grad_(False)
    before, state = str(model), deepcopy(model.state_dict())
    attributes = [sorted(vars(m)) for m in model.modules()]
    pruned = prune_network(model, SIZE)
    assert str(model) == before and model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert [sorted(vars(m)) for m in model.modules()] == attributes
    assert [sorted(vars(m)) for m in pruned.modules()] == attributes


class Fails(nn.Module):
    def forward(self, x):
        return x.view(len(x), 16, *x.shape[2:])


class Shuffle(nn.Module):
    def forward(self, x):
        return x.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2)


@pytest.mark.parametrize(
    "model, words",
    [
        (
            Network(
                build_pool(
                    dict(type="DeformableSelfAttentivePool2d", conv_cfg=DYNAMIC), 16, 2
                )
            ),
            ["pool", "DeformableSelfAttentivePool2d"],
        ),
        (
            Network(nn.AvgPool2d(2), inside=DynamicConv2d(16, 16, 3, groups=16)),
            ["inside", "DynamicConv2d"],
        ),
        (
            nn.Sequential(nn.Conv2d(3, 16, 1), Fails(), nn.Conv2d(16, 2, 1)),
            ["1 (Fails)"],
        ),
        (
            nn.Sequential(nn.Conv2d(3, 16, 1), Shuffle(), nn.Conv2d(16, 2, 1)),
            ["after 0", "shuffle"],
        ),
        (nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU()), ["no layer"]),
        (nn.Conv2d(4, 16, 1), ["Conv2d"]),
        (nn.ReLU(), ["ReLU", "parameters"]),
    ],
    ids=[
        "offsets",
        "grouped",
        "view",
        "shuffle",
        "one layer",
        "channels",
        "no parameters",
    ],
)
def test_networks_that_cannot_be_pruned(model, words):
    with pytest.raises(ConfigError) as error:
        prune_network(model, SIZE)
    message = str(error.value)
    assert "cannot be pruned" in message and "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    "arguments, name",
    [
        (dict(ratio=0), "ratio"),
        (dict(ratio=1.0), "ratio"),
        (dict(ratio=float("nan")), "ratio"),
        (dict(ratio="half"), "ratio"),
        (dict(ratio=True), "ratio"),
        (dict(shape=(32, 32)), "shape"),
        (dict(shape=(3, 32, 0)), "shape"),
        (dict(shape=32), "shape"),
    ],
)
def test_arguments(arguments, name):
    arguments = dict(shape=SIZE, ratio=0.5) | arguments
    with pytest.raises(ConfigError, match=f"{name}"):
        prune_network(nn.Conv2d(3, 4, 1), **arguments)


def test_without_torch_pruning(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(ConfigError, match=r"attnpool_mm\[prune\]"):
        prune_network(Network(nn.AvgPool2d(2)), SIZE)
