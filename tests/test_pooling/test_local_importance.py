import pytest
import torch
import torch.nn.functional as F
from oracles import assert_equals_formula, randomized
from torch import nn

from attnpool_mm.pooling import LocalImportancePool2d
from attnpool_mm.utils.errors import ConfigError

SIZES = [(8, 8), (7, 9), (2, 3), (1, 1)]


def make(**kwargs):
    return randomized(LocalImportancePool2d(4, **kwargs).double())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4])
def test_sap_form_equals_the_formula(kernel_size, normalize, training):
    pool = make(kernel_size=kernel_size, normalize=normalize).train(training)
    for size in SIZES:
        assert_equals_formula(pool, torch.randn(2, 4, *size, dtype=torch.float64))


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kernel_size", [None, 1, 2])
def test_original_form_equals_the_formula(kernel_size, normalize, stride):
    pool = make(
        stride=stride, form="original", kernel_size=kernel_size, normalize=normalize
    )
    for size in SIZES:
        assert_equals_formula(pool, torch.randn(2, 4, *size, dtype=torch.float64))


def test_kernels_are_padded_and_even_ones_look_right_and_below():
    x = torch.randn(2, 4, 7, 5)
    for kernel_size, sides in ((1, (0, 0)), (2, (0, 1)), (3, (1, 1)), (4, (1, 2))):
        pool = LocalImportancePool2d(4, kernel_size=kernel_size).eval()
        padded = F.pad(x, sides * 2)
        logit = F.conv2d(padded, pool.conv.weight, pool.conv.bias)
        expected = (logit / (1 + 1e-5) ** 0.5).sigmoid().exp()
        torch.testing.assert_close(pool.compute_weight(x), expected)


def test_original_form_in_float16():
    pool = LocalImportancePool2d(4, form="original")
    nn.init.constant_(pool.norm.bias, 30.0)  # every logit is 12; exp(12) > 65504
    x = torch.rand(2, 4, 8, 8)
    y = pool.half()(x.half())
    torch.testing.assert_close(y.float(), nn.AvgPool2d(2)(x), atol=1e-2, rtol=0)


def test_bad_arguments():
    with pytest.raises(ConfigError, match="form='lip'.*'sap', 'original'"):
        LocalImportancePool2d(4, form="lip")
    with pytest.raises(ConfigError, match="kernel_size=0"):
        LocalImportancePool2d(4, kernel_size=0)
