"""Limit cases and mixed precision, for every pool."""

import copy
import math
import pickle
import warnings
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from oracles import randomized
from pool_configs import ATTENTIVE, CONFIGS, DEFORMABLE, LOCAL
from torch import nn

from attnpool_mm.pooling import WeightedPool2d, build_pool
from attnpool_mm.pooling.build import pool_class
from attnpool_mm.pooling.deformable import ZeroConv2d

WEIGHTED = [c for c in CONFIGS if issubclass(pool_class(c), WeightedPool2d)]
BY_VALUE = ("AdaptiveExponentialPool2d", "SoftPool2d")  # whose weights no layer gives
every_pool = pytest.mark.parametrize("cfg", CONFIGS, ids=lambda c: str(c)[9:60])
pytestmark = [
    pytest.mark.usefixtures("small_maps_allowed"),
    # With stride 1 a normalised weight cancels.
    pytest.mark.filterwarnings("ignore:SelfAttentivePool2d with patch_size"),
]


def make(cfg, channels=4, stride=2):
    return randomized(build_pool(cfg, channels, stride))


def sides(cfg, size, stride):
    # A side is rounded down by a pool and up by what is padded as a convolution is.
    rounding = 0
    padded = cfg["type"] in ("StridedConv2d", "BlurPool2d")
    if padded or cfg.get("form") == "original":
        rounding = stride - 1
    if "window" in cfg:
        rounding = stride + 2 * cfg["padding"] - cfg["window"]
    return tuple(max(1, (side + rounding) // stride) for side in size)


def norms_in_eval(pool):
    for module in pool.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return pool


def backward(y):
    """A loss that no symmetry of the pool makes constant."""
    (y * torch.randn(y.shape)).mean().backward()


def assert_finite_gradients(x, pool):
    for tensor in (x, *pool.parameters()):
        # In evaluation Gaussian pooling's deviations are unused.
        assert tensor.grad is None or tensor.grad.isfinite().all()


@every_pool
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_any_size(cfg, stride):
    pool = make(cfg, stride=stride)
    for training, size in product((True, False), [(8, 8), (7, 5), (1, 6), (1, 1)]):
        pool.train(training)
        x = torch.randn(2, 4, *size, requires_grad=True)
        y = pool(x)
        assert y.shape == (2, 4, *sides(cfg, size, stride))
        backward(y)
        assert y.isfinite().all()
        assert_finite_gradients(x, pool)


@every_pool
def test_any_number_of_channels_and_images(cfg):
    for channels, batch in ((1, 2), (3, 0)):
        pool = make(cfg, channels)
        assert pool.in_channels == pool.out_channels == channels
        y = pool(torch.randn(batch, channels, 6, 6, requires_grad=True))
        assert y.shape == (batch, channels, 3, 3)
        y.sum().backward()


@every_pool
def test_every_parameter_gets_a_gradient(cfg):
    # Batch statistics would cancel the biases before them.
    pool = norms_in_eval(make(cfg, channels=8))
    x = torch.randn(2, 8, 8, 8, requires_grad=True)
    backward(pool(x))
    assert x.grad.any()
    assert [n for n, p in pool.named_parameters() if not p.grad.any()] == []


@every_pool
def test_evaluation_is_deterministic_and_changes_nothing(cfg):
    pool, x = make(cfg).eval(), torch.randn(2, 4, 9, 7)
    before = copy.deepcopy(pool.state_dict())
    assert torch.equal(pool(x), pool(x))
    for name, value in pool.state_dict().items():
        assert torch.equal(value, before[name])


@every_pool
def test_images_do_not_see_each_other_in_evaluation(cfg):
    pool, x = make(cfg).eval(), torch.randn(3, 4, 9, 7)
    one_by_one = torch.cat([pool(image[None]) for image in x])
    torch.testing.assert_close(pool(x), one_by_one, atol=1e-5, rtol=1e-5)


@every_pool
def test_copies_are_equal(cfg):
    pool, x = make(cfg).eval(), torch.randn(2, 4, 9, 7)
    loaded = make(cfg).eval()
    if pool.state_dict():
        assert not torch.equal(loaded(x), pool(x))
    loaded.load_state_dict(pool.state_dict())
    for other in (loaded, copy.deepcopy(pool), pickle.loads(pickle.dumps(pool))):
        assert torch.equal(other(x), pool(x))


@pytest.mark.parametrize("cfg", [c for c in WEIGHTED if c["type"] not in BY_VALUE],
                         ids=lambda c: str(c)[9:60])  # fmt: skip
@pytest.mark.parametrize("training", [True, False])
def test_equal_weights_are_average_pooling(cfg, training):
    pool = build_pool(cfg, 4, 2).train(training)
    for parameter in pool.parameters():  # every logit is 0
        nn.init.zeros_(parameter)
    x = torch.randn(2, 4, 9, 8)
    factor = 1 if pool.normalize else pool.compute_weight(x).mean()
    mean = F.avg_pool2d(x, pool.window, 2, pool.padding, count_include_pad=False)
    torch.testing.assert_close(pool(x), factor * mean)


@every_pool
@pytest.mark.parametrize("training", [True, False])
def test_channels_last_memory_gives_the_same(cfg, training):
    pool = make(cfg).train(training)
    last = copy.deepcopy(pool).to(memory_format=torch.channels_last)
    x = torch.randn(2, 4, 8, 6)
    results = []
    for layer, image in ((pool, x), (last, x.to(memory_format=torch.channels_last))):
        torch.manual_seed(1)
        image = image.detach().requires_grad_()
        y = layer(image)
        backward(y)
        results.append((y, image.grad))
    for actual, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)


@every_pool
def test_a_constant_map_gives_no_nan(cfg):
    pool = make(cfg)
    for training, value in product((True, False), (0.0, 3.0)):
        x = torch.full((2, 4, 6, 6), value, requires_grad=True)
        y = pool.train(training)(x)
        backward(y)
        assert y.isfinite().all()
        assert_finite_gradients(x, pool)


@every_pool
def test_data_type_of_the_output_is_that_of_the_input(cfg):
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        pool = make(cfg).to(dtype)
        for training in (True, False):
            x = torch.rand(2, 4, 6, 6).to(dtype).requires_grad_()
            y = pool.train(training)(x)
            assert y.dtype == dtype
            backward(y)
            assert y.isfinite().all()
            assert_finite_gradients(x, pool)


def assert_near(y, expected, dtype, cfg):
    """Within some roundings of the largest value; batch statistics multiply them."""
    roundings = 20 if cfg["type"] == "AttentionPool2d" else 8
    error = (y.double() - expected).abs().max() / expected.abs().max()
    assert error < roundings * torch.finfo(dtype).eps


@every_pool
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_near(cfg, dtype):
    pool, x = make(cfg).eval(), torch.randn(2, 4, 9, 7)
    low = copy.deepcopy(pool).to(dtype)(x.to(dtype))
    assert_near(low, pool.double()(x.double()), dtype, cfg)


@every_pool
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_is_near_and_finite(cfg, dtype, training):
    for size, input_dtype in ((1.0, dtype), (1e3, torch.float32), (1e3, dtype)):
        assert_mixed_precision_is_near(cfg, size, dtype, input_dtype, training)


def assert_mixed_precision_is_near(cfg, size, dtype, input_dtype, training):
    torch.manual_seed(0)
    pool = make(cfg)
    for module in pool.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
        if isinstance(module, ZeroConv2d):
            module.weight.data /= size  # offsets of a few pixels
    x = size * torch.randn(4, 4, 9, 7)
    pool(x)  # the norms know the statistics
    pool.train(training)
    x = x.to(input_dtype).requires_grad_()
    torch.manual_seed(1)  # of Gaussian pooling's noise
    expected = pool(x.float().detach())
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=dtype):
        y = pool(x)
    assert y.isfinite().all()
    assert_near(y, expected, dtype, cfg)
    (y.float().mean() / size).backward()
    assert_finite_gradients(x, pool)


@pytest.mark.parametrize("cfg", [
    dict(ATTENTIVE, sigmoid=False, restore_norm=False),
    dict(LOCAL, form="original"),
], ids=lambda c: c["type"])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_may_be_larger_than_float16_holds(cfg, dtype):
    pool = build_pool(dict(cfg, normalize=False), 4, 2)
    if cfg["type"] == "LocalImportancePool2d":
        nn.init.constant_(pool.norm.bias, 30.0)  # 12·sigmoid(30)
    else:
        nn.init.zeros_(pool.restore.conv.weight)
        nn.init.constant_(pool.restore.conv.bias, 12.0)
    x = torch.rand(2, 4, 8, 8)
    with torch.autocast("cpu", dtype=dtype):
        y = pool(x)
    mean = F.avg_pool2d(x, pool.window, 2, pool.padding, count_include_pad=False)
    torch.testing.assert_close(y, math.exp(12) * mean)


@pytest.mark.parametrize("cfg", [ATTENTIVE, LOCAL, DEFORMABLE], ids=lambda c: c["type"])
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_gradients_by_image(cfg):
    pool, x = make(cfg).eval(), torch.randn(3, 4, 6, 6)
    by_image = torch.func.vmap(torch.func.grad(lambda x: pool(x[None]).sum()))(x)
    pool(x.requires_grad_()).sum().backward()
    torch.testing.assert_close(by_image, x.grad, atol=1e-5, rtol=1e-4)


@every_pool
def test_exported_and_traced_are_the_same(cfg):
    pool, x = make(cfg).eval(), torch.randn(2, 4, 7, 6)
    expected = pool(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a trace holds for one size, and says so
        traced = torch.jit.trace(pool, x, check_trace=False)
    for other in (torch.export.export(pool, (x,)).module(), traced):
        torch.testing.assert_close(other(x), expected)


def assert_compiled_is_the_same(cfg, backend):
    """Value and gradients; the compiler splits the pool where it must."""
    torch.compiler.reset()
    pool = norms_in_eval(make(cfg))
    if cfg["type"] == "GaussianPool2d":
        pool.eval()  # a compiler draws other random numbers
    compiled = torch.compile(pool, backend=backend)
    results = []
    for layer in (pool, compiled):
        x = torch.randn(2, 4, 7, 6, generator=torch.Generator().manual_seed(2))
        torch.manual_seed(1)
        y = layer(x.requires_grad_())
        pool.zero_grad()
        y.square().sum().backward()
        results.append((y, x.grad, *(p.grad for p in pool.parameters())))
    for actual, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "cfg",
    [
        ATTENTIVE,
        dict(ATTENTIVE, patch_size=2, normalize=False),
        dict(LOCAL),
        dict(LOCAL, form="original", hidden_channels=3),
    ],
    ids=lambda c: str(c)[9:60],
)
def test_compiled_is_the_same(cfg):
    assert_compiled_is_the_same(cfg, "aot_eager")


@pytest.mark.slow
@every_pool
def test_compiled_by_inductor_is_the_same(cfg):
    assert_compiled_is_the_same(cfg, "inductor")


@pytest.mark.slow
def test_a_compiled_backbone_is_the_same():
    from attnpool_mm.models import AttnPoolResNet

    backbone = AttnPoolResNet(18, pool_cfg=ATTENTIVE, out_indices=(0, 1, 2, 3))
    backbone.eval()
    compiled = torch.compile(backbone)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for actual, expected in zip(compiled(x), backbone(x), strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    backbone.train()
    sums = []
    for network in (backbone, compiled):
        backbone.zero_grad()
        norms_in_eval(backbone)
        network(x)[-1].square().mean().backward()
        sums.append([p.grad for p in backbone.parameters() if p.grad is not None])
    for actual, expected in zip(*sums, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-3)
