"""What `benchmark_pooling.py` measures with, and the plain formulas."""

import doctest
import importlib

import oracles
import pytest
import torch
import torch.nn.functional as F
from measurement import make_step, measure_layer, peak_memory
from plain_formulas import plain_formula
from torch import nn

from attnpool_mm.layers import SPEM, DynamicConv2d
from attnpool_mm.pooling import SelfAttentivePool2d, build_pool

CPU = torch.device("cpu")
NLP = dict(type="SelfAttentivePool2d")
LIP = dict(type="LocalImportancePool2d")
DEFORMABLE = dict(type="DeformableSelfAttentivePool2d")
POOLS = [
    dict(NLP, patch_size=2, normalize=False, exp=False),
    dict(NLP, patch_size=3, num_heads=1, position=False, sigmoid=False),
    dict(NLP, patch_size=2, normalize=False, conv_cfg=dict(type="DynamicConv2d")),
    dict(DEFORMABLE, patch_size=2, normalize=False),
    dict(type="MixedPool2d", pools=[LIP, NLP, DEFORMABLE]),
    dict(type="AttentionPool2d"),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("module", ["benchmark_cases", "measurement", "plain_formulas"])
def test_docstring_examples(module):
    results = doctest.testmod(importlib.import_module(module))
    assert results.attempted > 0 and results.failed == 0


def assert_same(layer, x):
    """Value and gradients of the layer and of its plain formula are equal."""
    leaves = [x.requires_grad_(), *layer.parameters()]
    actual, expected = plain_formula(layer)(x), layer(x)
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
        assert_same(pool, torch.randn(2, 4, *size, dtype=torch.float64))


@pytest.mark.parametrize("kwargs", [
    dict(kernel_size=3, stride=2, padding=1),
    dict(kernel_size=1, bias=False, groups=2),
])  # fmt: skip
def test_plain_formula_of_dynamic_convolution(kwargs):
    layer = oracles.randomized(DynamicConv2d(6, 4, **kwargs, temperature=1.0).double())
    assert_same(layer, torch.randn(3, 6, 5, 4, dtype=torch.float64))


def test_peak_memory_by_hand():
    x = torch.zeros(1000, requires_grad=True)
    kept = [torch.zeros(1000).sin()]

    def forward():
        with torch.no_grad():
            x.sin().sin_().cos()  # two maps at a time

    def training():
        x.sin().sin().sin().backward(torch.ones(1000))
        x.grad = None

    def release():
        kept.pop()  # memory from before does not count
        torch.zeros(500).sin()

    assert peak_memory(forward, CPU) == 2 * 4000
    # The three results and the seed, then the cosine of the second and the gradient.
    assert peak_memory(training, CPU) == 6 * 4000
    assert peak_memory(release, CPU) == 2 * 2000
    assert peak_memory(lambda: x.view(10, 100), CPU) == 0


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("normalize", [True, False])
def test_memory_is_linear_in_the_tokens(mode, normalize):
    pool = SelfAttentivePool2d(8, num_heads=2, normalize=normalize)
    peaks = []
    for side in (24, 48):  # four times as many tokens
        x = torch.randn(1, 8, side, side)
        step = make_step(pool, x, pool.parameters(), mode)
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
        step = make_step(function, x, pool.parameters(), mode)
        peaks[mode] = round(peak_memory(step, CPU) / 1e6)
        assert outputs[0].shape == (1, 64, 100, 167) and outputs[0].isfinite().all()
    print("\npeak in MB:", peaks)
    assert peaks["inference"] < peaks["training"] < 1000  # a matrix is 18 GB


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
    without = ["layer", "convolution"]
    assert list(measure_layer(pool, x, conv, mode, 1, plain=False)) == without
    assert list(measure_layer(SPEM(8), x, conv, mode, 1)) == without


def test_steps_do_what_their_mode_says():
    seen = []

    def function(x):
        seen.append((x.requires_grad, torch.is_grad_enabled()))
        return F.avg_pool2d(x, 2)

    make_step(function, torch.rand(1, 1, 4, 4), [], "inference")()
    make_step(function, torch.rand(1, 1, 4, 4), [], "training")()
    assert seen[0] == (False, False) and seen[-1] == (True, True)
