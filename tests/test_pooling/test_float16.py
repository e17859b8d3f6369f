"""Large values in float16, whose largest is 65504: finite where float32 is."""

import copy
import math

import pytest
import torch
from torch import nn

from attnpool_mm.layers.saturation import LARGEST, saturate
from attnpool_mm.pooling import build_pool, pool_names

ATTENTIVE = dict(type="SelfAttentivePool2d")
ORIGINAL = dict(type="LocalImportancePool2d", form="original")
CHANNELS = 64  # a sum over so many overflows
# PyTorch's own layers, which overflow
OTHERS = {"StridedConv2d"}
CONFIGS = [
    *(dict(type=name) for name in pool_names() if name not in OTHERS),
    *(dict(ATTENTIVE, **{part: False}) for part in ("embed_norm", "position")),
    dict(ATTENTIVE, sigmoid=False),
    dict(ATTENTIVE, patch_size=2, normalize=False),
    dict(ATTENTIVE, conv_cfg=dict(type="DynamicConv2d")),
    ORIGINAL,
]
every_pool = pytest.mark.parametrize("cfg", CONFIGS, ids=lambda c: str(c)[9:60])
pytestmark = [
    pytest.mark.filterwarnings("ignore:SelfAttentivePool2d with patch_size"),
]


def maps(size):
    """One map of values around zero, and a positive one, as after a ReLU."""
    around_zero, positive = torch.rand(2, 1, CHANNELS, 6, 6)
    return size * torch.cat([2 * around_zero - 1, positive])


def expected_of(pool, x):
    torch.manual_seed(1)  # of Gaussian pooling's noise
    with torch.no_grad():
        return copy.deepcopy(pool)(x.float())


def know_statistics(pool, x):
    for module in pool.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    pool(x.float())


def low_of(pool, x, mode):
    torch.manual_seed(1)
    if mode == "half":
        return pool.half()(x)
    with torch.autocast("cpu", dtype=torch.float16, enabled=mode == "autocast"):
        return pool(x)


@every_pool
@pytest.mark.parametrize("mode", ["half", "autocast"])
@pytest.mark.parametrize("training", [True, False])
def test_finite_where_float32_is(cfg, mode, training):
    gaussian = cfg["type"] == "GaussianPool2d"
    # Gaussian pooling's output grows with the square of the map unless its norms know
    # the map, and a float16 module cannot hold the statistics of one of 6e4.
    for size in (1e4,) if gaussian else (1e4, 6e4):
        torch.manual_seed(0)
        pool = build_pool(cfg, CHANNELS, 2)
        x = maps(size).half()
        if gaussian:
            know_statistics(pool, x)
        pool.train(training)
        expected = expected_of(pool, x)
        y = low_of(pool, x, mode)
        # Other weights, between 1 and e, may take a large value past the largest.
        assert (y.isfinite() | (expected.abs() > LARGEST / math.e)).all()


def gradients(pool, x, mode):
    x = x.detach().requires_grad_()
    y = low_of(pool, x, mode)
    y = y.where(y.isfinite(), 0)  # beyond float16 in float32 too
    torch.manual_seed(2)
    (y.float() * torch.randn(y.shape)).mean().backward()
    return [tensor.grad for tensor in (x, *pool.parameters())]


@every_pool
def test_training_by_autocast(cfg):
    pool = build_pool(cfg, CHANNELS, 2)
    x = maps(6e4).half()
    expected = gradients(copy.deepcopy(pool), x.float(), "float32")
    for low, full in zip(gradients(pool, x, "autocast"), expected, strict=True):
        if low is not None:
            # Offsets of a map of 6e4 have gradients that large; without a norm q·k
            # reaches 1e9, where those of PyTorch's attention are not finite.
            fits = full.abs().max() < LARGEST / 16
            assert low.isfinite().all() or not fits


@pytest.mark.parametrize("cfg", [ATTENTIVE, ORIGINAL, dict(type="AttentionPool2d")],
                         ids=lambda c: c["type"])  # fmt: skip
def test_values_of_ten_thousand_are_near(cfg):
    pool = build_pool(cfg, CHANNELS, 2)
    x = maps(1e4).half()
    expected = expected_of(pool, x)
    y = low_of(pool, x, "autocast")
    error = (y.float() - expected).abs().max() / expected.abs().max()
    assert error < 32 * torch.finfo(torch.float16).eps


@pytest.mark.parametrize("embed_norm, training", [(True, False), (False, True)])
def test_gradients_of_tokens_without_bound(embed_norm, training):
    pool = build_pool(dict(ATTENTIVE, embed_norm=embed_norm), CHANNELS, 2)
    pool.train(training)  # in evaluation by statistics of other maps
    for gradient in gradients(pool, maps(2e3).half(), "autocast"):
        assert gradient is None or gradient.isfinite().all()


def test_logarithms_of_a_mixture_are_added_in_float32():
    soft = dict(type="SoftPool2d")
    pool = build_pool(dict(type="MixedPool2d", pools=[soft, soft], window=3), 4, 2)
    x = maps(6e4)[:, :4].half().requires_grad_()
    y = pool(x)
    peaks = torch.nn.functional.max_pool2d(x, 3, 2)
    torch.testing.assert_close(y, peaks, atol=64, rtol=0)
    y.float().mean().backward()
    assert x.grad.isfinite().all()


def test_saturation():
    x = torch.tensor([-1.0, 3.0, 7e4, -7e4, LARGEST], requires_grad=True)
    y = saturate(x.half())
    assert y.tolist() == [-1, 3, LARGEST, -LARGEST, LARGEST]
    (y * torch.arange(5)).sum().backward()
    assert x.grad.tolist() == [0, 1, 2, 3, 4]
    for dtype in (torch.float32, torch.bfloat16):
        assert saturate(x.to(dtype)).equal(x.to(dtype))


def kept_for_backward(pool):
    """Bytes that the graph of a forward pass keeps."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    x = torch.rand(2, 8, 6, 6).half().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        pool(x).sum().backward()
    return sum(storage.nbytes() for storage in kept.values())


def test_nothing_more_is_kept_for_the_backward_pass(monkeypatch):
    pool = build_pool(ATTENTIVE, 8, 2).half()
    saturated = kept_for_backward(pool)
    for module in ("layers.saturation", "pooling.self_attention"):
        monkeypatch.setattr(f"attnpool_mm.{module}.saturate", lambda x: x)
    assert saturated == kept_for_backward(pool)


def test_export_in_float16():
    pool = build_pool(ATTENTIVE, 4, 2).half().eval()
    x = torch.rand(2, 4, 6, 6).half()
    exported = torch.export.export(pool, (x,)).module()
    assert exported(6e4 * x).equal(pool(6e4 * x))
