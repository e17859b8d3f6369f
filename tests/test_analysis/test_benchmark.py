import warnings
from pathlib import Path

import oracles
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attnpool_mm.analysis.benchmark import (
    count_flops,
    machine_speed,
    make_step,
    measure_layer,
    peak_memory,
    take_turns,
    time_by_operator,
)
from attnpool_mm.analysis.benchmark_cases import build_case
from attnpool_mm.analysis.plain import plain_formula
from attnpool_mm.layers import SPEM, DynamicConv2d
from attnpool_mm.pooling import AvgPool2d, SelfAttentivePool2d, build_pool
from attnpool_mm.utils.errors import ConfigError

CPU = torch.device("cpu")
SPEED = (Path(__file__).parents[2] / "docs" / "speed.md").read_text()
NLP = dict(type="SelfAttentivePool2d")
LIP = dict(type="LocalImportancePool2d")
DEFORMABLE = dict(type="DeformableSelfAttentivePool2d")
POOLS = [
    NLP,
    dict(NLP, patch_size=2, normalize=False, exp=False),
    dict(NLP, patch_size=3, num_heads=1, position=False, sigmoid=False),
    dict(NLP, patch_size=2, normalize=False, conv_cfg=dict(type="DynamicConv2d")),
    LIP,
    dict(LIP, form="original", kernel_size=2),
    DEFORMABLE,
    dict(DEFORMABLE, patch_size=2, normalize=False),
    dict(type="MixedPool2d", pools=[LIP, NLP]),
    dict(type="AttentionPool2d"),
    dict(type="GaussianPool2d"),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_same(actual, expected, leaves):
    """Value and gradients are equal."""
    torch.testing.assert_close(actual, expected, atol=1e-9, rtol=1e-7)
    seed = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(actual, leaves, seed, materialize_grads=True),
        torch.autograd.grad(expected, leaves, seed, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cfg", POOLS, ids=lambda c: str(c)[9:70])
def test_plain_formulas_of_the_pools(cfg, training):
    pool = oracles.randomized(build_pool(cfg, 4, 2).double(), 0.3).train(training)
    for size in ((6, 8), (7, 5)):
        x = torch.randn(2, 4, *size, dtype=torch.float64, requires_grad=True)
        leaves = [x, *pool.parameters()]
        torch.manual_seed(1)  # of Gaussian pooling's noise
        y = pool(x)
        torch.manual_seed(1)
        assert_same(plain_formula(pool, x), y, leaves)
        if cfg["type"] != "GaussianPool2d" or not training:
            assert_same(plain_formula(pool, x), oracles.pool_of(pool, x), leaves)


def test_plain_formula_of_what_the_pools_share():
    pool, _ = build_case("weighted", 4)
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64, requires_grad=True)
    weight = x.sigmoid().exp()
    expected = F.avg_pool2d(weight * x, 2) / F.avg_pool2d(weight, 2)
    assert_same(plain_formula(pool, x), expected, [x])
    assert_same(plain_formula(pool, x), pool(x), [x])


def test_plain_formula_of_spem():
    layer = oracles.randomized(SPEM(6).double())
    x = torch.randn(3, 6, 5, 4, dtype=torch.float64, requires_grad=True)
    expected = oracles.spem(x, layer.w1, layer.b1, layer.w2, layer.b2, layer.p)
    leaves = [x, *layer.parameters()]
    assert_same(plain_formula(layer, x), expected, leaves)
    assert_same(plain_formula(layer, x), layer(x), leaves)


@pytest.mark.parametrize("kwargs", [
    dict(kernel_size=3, stride=2, padding=1),
    dict(kernel_size=1, bias=False, groups=2),
])  # fmt: skip
def test_plain_formula_of_dynamic_convolution(kwargs):
    layer = oracles.randomized(DynamicConv2d(6, 4, **kwargs, temperature=1.0).double())
    x = torch.randn(3, 6, 5, 4, dtype=torch.float64, requires_grad=True)
    assert_same(plain_formula(layer, x), layer(x), [x, *layer.parameters()])


def test_what_has_no_plain_formula():
    with pytest.raises(ConfigError, match="AvgPool2d has no plain formula"):
        plain_formula(AvgPool2d(4), torch.rand(1, 4, 4, 4))
    layer = DynamicConv2d(4, 4, 3, padding=1, padding_mode="circular")
    with pytest.raises(ConfigError, match="padding_mode='circular'"):
        plain_formula(layer, torch.rand(1, 4, 4, 4))


def test_peak_memory_by_hand():
    x = torch.zeros(1000, requires_grad=True)

    def forward():
        with torch.no_grad():
            x.sin().sin_().cos()  # two maps at a time

    def training():
        x.sin().sin().sin().backward(torch.ones(1000))
        x.grad = None

    assert peak_memory(forward, CPU) == 2 * 4000
    # The three results and the seed, then the cosine of the second and the gradient.
    assert peak_memory(training, CPU) == 6 * 4000
    assert peak_memory(training, CPU) == peak_memory(training, CPU)
    assert peak_memory(lambda: x.view(10, 100), CPU) == 0


def test_memory_from_before_does_not_count():
    kept = [torch.zeros(1000).sin()]

    def step():
        kept.pop()
        torch.zeros(500).sin()

    assert peak_memory(step, CPU) == 2 * 2000


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("normalize", [True, False])
def test_memory_is_linear_in_the_tokens(mode, normalize):
    pool = SelfAttentivePool2d(8, num_heads=2, normalize=normalize)
    peaks = []
    for side in (24, 48):  # four times as many tokens
        x = torch.randn(1, 8, side, side)
        step = make_step(pool, x, list(pool.parameters()), mode)
        peaks.append(peak_memory(step, CPU))
    assert peaks[1] <= 4.2 * peaks[0]
    assert peaks[1] < 4 * 2 * 48**4 / 3  # bytes of an N×N matrix for each of two heads


@pytest.mark.slow
def test_a_whole_coco_image_at_patch_1():
    """800×1333, stage-end placement after layer1: 200×334 = 66,800 tokens."""
    torch.set_num_threads(2)
    pool = SelfAttentivePool2d(64, num_heads=4)
    outputs = []

    def function(x):
        outputs[:] = [pool(x)]
        return outputs[0]

    peaks = {}
    for mode in ("inference", "training"):
        x = torch.randn(1, 64, 200, 334)
        step = make_step(function, x, list(pool.parameters()), mode)
        peaks[mode] = round(peak_memory(step, CPU) / 1e6)
        assert outputs[0].shape == (1, 64, 100, 167) and outputs[0].isfinite().all()
    print("\npeak in MB:", peaks)
    assert f"{peaks['inference']} MB" in SPEED and f"{peaks['training']} MB" in SPEED


def test_time_by_operator():
    a, b = torch.rand(300, 300), torch.rand(300, 300)
    x = torch.rand(1000)

    def step():
        a @ b
        x.sin()

    shares = time_by_operator(step, CPU)
    assert {"aten::mm", "aten::sin"} <= set(shares)
    assert list(shares)[0] == "aten::mm" and 0.99 < sum(shares.values()) <= 1.01
    assert list(time_by_operator(step, CPU, most=1)) == ["aten::mm"]


def test_flops_of_a_training_step():
    batch, channels, side, tokens = 2, 8, 8, 64
    pool = SelfAttentivePool2d(channels, num_heads=2)
    x = torch.randn(batch, channels, side, side)
    forward = make_step(pool, x, [], "inference")
    training = make_step(pool, x, [], "training")
    # embedding, query, key and value, output, restoration: 6 products of the tokens
    products = 6 * 2 * batch * tokens * channels**2
    attention = 2 * 2 * batch * tokens**2 * channels  # q·kᵀ and weights·v
    assert count_flops(forward) == products + attention
    # Backward: two products for each of the layers', five for attention's two.
    assert count_flops(training) == 3 * products + (1 + 2.5) * attention


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_flops_of_grouped_convolutions(groups):
    conv = nn.Conv2d(8, 16, 3, padding=1, groups=groups)
    x = torch.randn(2, 8, 5, 5)
    forward = 2 * (2 * 5 * 5) * 16 * (8 // groups) * 3 * 3
    assert count_flops(make_step(conv, x, [], "inference")) == forward
    assert count_flops(make_step(conv, x, [], "training")) == 3 * forward
    # No gradient of the input, which is no leaf of the loss
    assert count_flops(lambda: conv(x).sum().backward()) == 2 * forward


def test_steps_take_turns():
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = take_turns(steps, 3, CPU)
    assert calls == list("ab") * 4  # one round more than counts
    assert all(len(seconds) == 3 and min(seconds) > 0 for seconds in times.values())


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_measure_layer(mode):
    pool = SelfAttentivePool2d(8, num_heads=2)
    x = torch.randn(1, 8, 32, 32)
    conv = nn.Conv2d(8, 8, 3, 2, 1)
    measured = measure_layer(pool, x, conv, mode, repeats=1)
    assert list(measured) == ["layer", "plain", "convolution"]
    assert pool.training == conv.training == (mode == "training")
    assert all(m.median_ms > 0 for m in measured.values())
    matrices = 4 * 2 * 32**4  # bytes: two heads
    assert measured["plain"].peak_bytes > matrices > measured["layer"].peak_bytes
    assert all(p.grad is None for p in (x, *pool.parameters()))
    assert list(measure_layer(pool, x, conv, mode, 1, plain=False)) == [
        "layer", "convolution"
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="repeats=0"):
        measure_layer(pool, x, conv, mode, repeats=0)


def test_steps_do_what_their_mode_says():
    seen = []

    def function(x):
        seen.append((x.requires_grad, torch.is_grad_enabled()))
        return F.avg_pool2d(x, 2)

    make_step(function, torch.rand(1, 1, 4, 4), [], "inference")()
    make_step(function, torch.rand(1, 1, 4, 4), [], "training")()
    assert seen[0] == (False, False) and seen[-1] == (True, True)


def test_machine_speed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        speed = machine_speed(CPU, side=64)
    assert set(speed) == {
        "matmul_gflops", "narrow_gflops", "copy_gbytes", "exp_gvalues"
    }  # fmt: skip
    assert all(0.001 < value < 1e6 for value in speed.values())
