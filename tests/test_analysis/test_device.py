"""Memory in a microcontroller's runtime: by hand, and as it was measured."""

import pytest
import torch
from mmpretrain.models.backbones.resnet import BasicBlock
from torch import nn

from attnpool_mm.analysis import measure_complexity
from attnpool_mm.analysis.arena import plan_arena
from attnpool_mm.deploy.tiling import tile_attention
from attnpool_mm.models import AttnPoolMobileNetV2
from attnpool_mm.pooling import SelfAttentivePool2d, build_pool
from attnpool_mm.utils.errors import ConfigError

STEP = 200  # bytes that are kept for an operation
NLP = dict(type="SelfAttentivePool2d", normalize=False)
# What TensorFlow Lite Micro used, in bytes, float32 and int8: docs/deployment/memory.md
POOLS = {
    "AdaptiveExponentialPool2d": (49152, 43008),
    "AttentionPool2d": (1056768, 1050624),
    "AvgPool2d": (11264, 2816),
    "BlurPool2d": (18592, 4672),
    "DeformableSelfAttentivePool2d": (1067008, 1053184),
    "GaussianPool2d": (26624, 6656),
    "LocalImportancePool2d": (24576, 18432),
    "MaxPool2d": (11264, 2816),
    "MixedPool2d": (1073152, 1060864),
    "SelfAttentivePool2d": (1064960, 1052672),
    "SoftPool2d": (24608, 18432),
    "StridedConv2d": (18560, 4640),
}
MOBILENETS = {  # strides and pool: activations and arena, float32 and int8
    "1222121, strided": (None, 922368, 994975, 230592, 303295),
    "1222121, pooled": (NLP, 85082112, 85441231, 84971520, 85137519),
}


class Net(nn.Module):
    """A layer, and a forward pass with it."""

    def __init__(self, run, layer=None):
        super().__init__()
        self.run, self.layer = run, layer

    def forward(self, x):
        return self.run(self.layer, x)


def measure(model, shape, num_bytes=1):
    return measure_complexity(model, shape, num_bytes, attention="unfused")


def steps(model, shape, num_bytes=1):
    operations = measure(model, shape, num_bytes).operations
    return [(op.name, op.live_bytes) for op in operations]


def test_what_is_folded_costs_nothing_and_nothing_else_works_in_place():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU6(inplace=True), nn.Sigmoid()
    )
    x, n = 3 * 36, 8 * 36
    live = [live for _, live in steps(model, (3, 6, 6))]
    assert live == [x, x + n, n, n, 2 * n]


def test_a_relu_is_not_folded_where_what_it_reads_is_read_again():
    model = Net(lambda conv, x: ((y := conv(x)), y.relu() + y)[1], nn.Conv2d(3, 8, 1))
    n = 8 * 36
    assert [live for _, live in steps(model, (3, 6, 6))][2:] == [2 * n, 3 * n]


def test_a_residual_block():
    n = 8 * 36  # the sum is a tensor of its own, and the last ReLU is part of it
    live = dict(enumerate(live for _, live in steps(BasicBlock(8, 8), (8, 6, 6))))
    assert [live[i] for i in (1, 2, 3, 4, 5, 6, 7)] == [
        2 * n, 2 * n, 2 * n, 3 * n, 2 * n, 3 * n, n
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "side", "padded"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), 16, 18),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), 17, None),
        (nn.Conv2d(4, 6, 3, padding=1), 16, None),
        (nn.Conv2d(4, 6, 5, padding=1), 16, 18),
        (nn.Conv2d(4, 6, 3, padding=2, dilation=2), 16, None),
        (nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2), 16, 20),
        (nn.Conv2d(4, 6, 1, stride=2), 16, None),
        (nn.MaxPool2d(3, 2, padding=1), 16, 18),
        (nn.MaxPool2d(3, 2, padding=1), 17, None),
        (nn.AvgPool2d(3, 1, padding=1), 16, 18),
        (nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), 16, None),
        (nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), 17, 19),
        (nn.AvgPool2d(2), 17, None),
    ],
)
def test_padding_is_a_copy_where_it_is_not_tensorflows_same(layer, side, padded):
    with torch.no_grad():
        y = layer(torch.empty(1, 4, side, side)).numel()
    x, names = 4 * side**2, [name for name, _ in steps(layer, (4, side, side))]
    assert ("pad" in names) == (padded is not None)
    copy = 4 * padded**2 if padded else x
    peak = max(copy + y, x + copy if padded else 0)
    assert measure(layer, (4, side, side)).peak.live_bytes == peak


def test_views_are_copies_and_what_keeps_its_shape_is_not():
    model = Net(lambda _, x: x.flatten(1).transpose(0, 1).expand(72, 1).contiguous())
    assert steps(model, (2, 6, 6)) == [("input", 72), ("view", 144), ("transpose", 144)]


def test_what_changes_a_tensor_makes_another():
    model = Net(lambda _, x: x.clone().add_(x.sigmoid()).mul_(2))
    names = [name for name, _ in steps(model, (2, 6, 6))]
    assert names == ["input", "clone", "sigmoid", "add_", "mul_"]
    assert [live for _, live in steps(model, (2, 6, 6))][2:] == [216, 216, 144]


def test_an_exponential_is_computed_in_float32():
    n = 2 * 36
    model = Net(lambda _, x: x * x.exp())
    assert steps(model, (2, 6, 6)) == [
        ("input", n), ("dequantize", 5 * n), ("exp", 9 * n), ("quantize", 6 * n),
        ("mul", 3 * n),
    ]  # fmt: skip
    assert measure(model, (2, 6, 6), 2).peak.live_bytes == 2 * n + 8 * n
    assert measure(model, (2, 6, 6), 4).peak.live_bytes == 4 * 3 * n


def test_what_follows_in_float32_reads_the_float32_result():
    n = 2 * 36
    model = Net(lambda _, x: (x / (x * x)).exp() / 2)
    assert steps(model, (2, 6, 6)) == [
        ("input", n), ("mul", 2 * n), ("dequantize", 6 * n), ("dequantize", 9 * n),
        ("div", 12 * n), ("exp", 8 * n), ("quantize", 5 * n), ("div", 2 * n),
    ]  # fmt: skip


def test_attention_makes_two_matrices_of_all_heads():
    channels, side = 8, 16
    n, tokens = channels * side**2, side**2
    pool = SelfAttentivePool2d(channels, num_heads=2, normalize=False)
    cost = measure(pool, (channels, side, side))
    # in float32; beside them the map and the values
    assert cost.peak.live_bytes == 2 * 2 * 4 * tokens**2 + 2 * n
    assert cost.flops == measure_complexity(pool, (channels, side, side)).flops
    ideal = measure_complexity(pool, (channels, side, side))
    assert ideal.peak.live_bytes < 6 * n
    assert ideal.kept_bytes == 0 and ideal.arena_bytes == ideal.peak.live_bytes


def test_attention_in_blocks():
    shape, limit = (8, 32, 32), 100_000
    pool = SelfAttentivePool2d(8, num_heads=2, normalize=False)
    whole = measure(pool, shape)
    (tiles,) = tile_attention(pool, shape, limit).values()
    cost = measure(pool, shape)
    n = 8 * 32 * 32
    assert tiles.matrix_bytes < cost.peak.live_bytes <= tiles.matrix_bytes + 8 * n
    assert cost.flops == whole.flops
    # Each block has its operations, which cost memory too.
    assert cost.kept_bytes > 4 * tiles.blocks * tiles.heads * STEP
    assert cost.arena_bytes < whole.arena_bytes / 4


def test_what_kernels_keep():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 5, 1))
    cost = measure(model, (3, 6, 6))
    assert cost.kept_bytes == 8 * (8 + 5) + 2 * STEP
    assert cost.arena_bytes == cost.peak.live_bytes + cost.kept_bytes
    linear = nn.Linear(6, 7)
    assert measure(linear, (6,)).kept_bytes == 8 * 7 + STEP
    assert measure(linear, (6,), 4).kept_bytes == STEP
    product = Net(lambda _, x: x @ x.relu())
    assert measure(product, (6, 6), 4).kept_bytes == 4 * 36 + 2 * STEP
    transposed = Net(lambda _, x: x @ x.relu().transpose(1, 2))
    assert measure(transposed, (6, 6), 4).kept_bytes == 3 * STEP


@pytest.mark.parametrize("num_bytes", [4, 1])
@pytest.mark.parametrize("pool", POOLS)
def test_pools_as_measured(pool, num_bytes):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        build_pool(dict(type=pool), 8, 2), nn.Conv2d(8, 16, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip
    used = POOLS[pool][num_bytes == 1]
    planned = measure(model, (3, 16, 16), num_bytes).planned_bytes
    chain = pool == "AdaptiveExponentialPool2d"  # of float32 operations, in int8
    assert planned == pytest.approx(used, rel=0.1 if chain else 0.03)


@pytest.mark.parametrize("name", MOBILENETS)
def test_mobilenets_as_measured(name):
    pool, *measured = MOBILENETS[name]
    pool = pool and dict(pool, num_heads=2)
    strides = (1, 2, 2, 2, 1, 2, 1)
    backbone = AttnPoolMobileNetV2(
        widen_factor=0.35, strides=strides, pool_position="first_block",
        pool_cfg=[pool if stride > 1 else None for stride in strides],
    )  # fmt: skip
    model = nn.Sequential(backbone, Net(lambda _, x: x[-1].mean((2, 3))))
    for num_bytes, (activations, arena) in {4: measured[:2], 1: measured[2:]}.items():
        cost = measure(model, (3, 96, 96), num_bytes)
        assert cost.peak.live_bytes == activations
        assert cost.arena_bytes == pytest.approx(arena, rel=0.02)


def test_gaps_of_the_planner():
    """Of equal tensors the last is placed first, between two that are apart."""
    assert plan_arena([(0, 1, 8), (1, 2, 8), (2, 3, 8)]) == 16
    assert plan_arena([(0, 2, 8), (2, 3, 8), (3, 4, 8), (1, 3, 4)]) == 20
    assert plan_arena([(0, 0, 4), (0, 1, 8), (1, 1, 6)]) == 14


def test_another_attention_is_refused():
    with pytest.raises(ConfigError, match="attention='tiled'.*'fused', 'unfused'"):
        measure_complexity(nn.Conv2d(3, 4, 3), (3, 8, 8), attention="tiled")
