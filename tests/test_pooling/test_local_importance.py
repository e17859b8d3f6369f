import pytest
import torch
import torch.nn.functional as F
from oracles import (
    assert_equals_formula,
    local_importance_weight,
    pool_windows,
    randomized,
)
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


@pytest.mark.parametrize("form", ["sap", "original"])
def test_hidden_layers_equal_the_formula(form):
    pool = make(form=form, hidden_channels=3, window=3, padding=1)
    assert pool.conv.kernel_size == (1, 1)
    for size in SIZES:
        assert_equals_formula(pool, torch.randn(2, 4, *size, dtype=torch.float64))


@pytest.mark.parametrize("stride, window, padding", [(1, 1, 0), (2, 3, 1), (4, 7, 3)])
def test_original_form_starts_as_average_pooling(stride, window, padding):
    for hidden in (None, 8):
        pool = LocalImportancePool2d(4, stride, form="original", hidden_channels=hidden)
        x = torch.randn(2, 4, 9, 11)
        mean = F.avg_pool2d(x, window, stride, padding, count_include_pad=False)
        torch.testing.assert_close(pool(x), mean)
        assert mean.shape[2:] == (-(-9 // stride), -(-11 // stride))


def test_weights_from_another_map():
    x, source = torch.randn(2, 4, 7, 5), torch.randn(2, 6, 7, 5)
    pool = LocalImportancePool2d(
        4, form="original", source_channels=6, hidden_channels=3
    )
    randomized(pool)
    weight = local_importance_weight(pool, source)
    expected = pool_windows(x, weight, 2, True, window=3, padding=1)
    torch.testing.assert_close(pool(x, source), expected)


def test_windows_of_the_original_form():
    for given, expected in (
        (dict(), (3, 1)),
        (dict(padding=0), (3, 0)),
        (dict(window=2), (2, 0)),
        (dict(window=4, padding=2), (4, 2)),
    ):
        pool = LocalImportancePool2d(4, form="original", **given)
        assert (pool.window, pool.padding) == expected


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
    mean = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
    torch.testing.assert_close(y.float(), mean(x), atol=1e-2, rtol=0)


def test_bad_arguments():
    with pytest.raises(ConfigError, match="form='lip'.*'sap', 'original'"):
        LocalImportancePool2d(4, form="lip")
    with pytest.raises(ConfigError, match="kernel_size=0"):
        LocalImportancePool2d(4, kernel_size=0)
    for name in ("hidden_channels", "source_channels"):
        with pytest.raises(ConfigError, match=f"{name}=0"):
            LocalImportancePool2d(4, **{name: 0})
