import oracles
import pytest
import torch
from torch import nn

from attnpool_mm.errors import ConfigError
from attnpool_mm.pooling import LocalImportancePool2d

SIZES = [(8, 8), (7, 9), (2, 3), (1, 1)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_sap_form_equals_the_formula(size, training):
    pool = LocalImportancePool2d(4, stride=2).double().train(training)
    nn.init.normal_(pool.norm.weight)
    nn.init.normal_(pool.norm.bias)
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    logit = torch.einsum("bchw,dc->bdhw", x, pool.conv.weight[:, :, 0, 0])
    logit = logit + pool.conv.bias[:, None, None]
    w = oracles.batch_norm(logit, pool.norm).sigmoid().exp()
    torch.testing.assert_close(pool(x), oracles.pool_windows(x, w, 2, True))


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("size", SIZES)
def test_original_form_equals_the_formula(size, stride):
    pool = LocalImportancePool2d(4, stride=stride, form="original").double()
    nn.init.normal_(pool.norm.weight, std=3)
    x = torch.randn(2, 4, *size, dtype=torch.float64, requires_grad=True)
    logit = pool.conv(x)
    mean = logit.mean((2, 3), keepdim=True)
    var = logit.var((2, 3), unbiased=False, keepdim=True)
    scale, shift = pool.norm.weight[:, None, None], pool.norm.bias[:, None, None]
    logit = (logit - mean) / (var + pool.norm.eps).sqrt() * scale + shift
    expected = oracles.pool_windows(x, (12 * logit.sigmoid()).exp(), stride, True)
    y = pool(x)
    torch.testing.assert_close(y, expected)
    seed = torch.randn_like(y)
    leaves = [x, *pool.parameters()]
    for actual, wanted in zip(
        torch.autograd.grad(y, leaves, seed),
        torch.autograd.grad(expected, leaves, seed),
        strict=True,
    ):
        torch.testing.assert_close(actual, wanted, atol=1e-8, rtol=1e-6)


def test_original_form_in_float16():
    pool = LocalImportancePool2d(4, form="original")
    nn.init.constant_(pool.norm.bias, 30.0)  # every logit is 12; exp(12) > 65504
    x = torch.rand(2, 4, 8, 8)
    y = pool.half()(x.half())
    torch.testing.assert_close(y.float(), nn.AvgPool2d(2)(x), atol=1e-2, rtol=0)


def test_equal_weights_are_average_pooling():
    for form in ("sap", "original"):
        pool = LocalImportancePool2d(4, form=form)
        nn.init.zeros_(pool.norm.weight)
        x = torch.randn(2, 4, 9, 8)
        torch.testing.assert_close(pool(x), nn.AvgPool2d(2)(x))


def test_bad_arguments():
    with pytest.raises(ConfigError, match="form='lip': accepted are 'sap', 'original'"):
        LocalImportancePool2d(4, form="lip")
    with pytest.raises(ConfigError, match="kernel_size=2: an odd integer"):
        LocalImportancePool2d(4, kernel_size=2)
