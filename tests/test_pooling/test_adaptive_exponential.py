import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attnpool_mm.pooling import AdaptiveExponentialPool2d, MixedPool2d, SoftPool2d
from attnpool_mm.pooling.adaptive_exponential import dice_sorensen
from attnpool_mm.utils.errors import ConfigError


def set_beta(pool, beta):
    """A parameter whose sigmoid is `beta`."""
    nn.init.constant_(pool.beta_logit, torch.logit(torch.tensor(beta)).item())
    return pool


def test_beta_of_zero_is_soft_pooling():
    x = torch.randn(2, 3, 7, 8)
    pool = set_beta(AdaptiveExponentialPool2d(3), 0.0)
    torch.testing.assert_close(pool(x), SoftPool2d(3)(x))


def test_beta_of_one_weighs_by_likeness_to_the_mean():
    x = torch.tensor([[[[3.0, 1.0], [2.0, 10.0]]]])  # the mean is 4
    likeness = torch.tensor([24 / 25, 8 / 17, 16 / 20, 80 / 116])
    expected = likeness.softmax(0) @ x.flatten()
    pool = set_beta(AdaptiveExponentialPool2d(1), 1.0)
    torch.testing.assert_close(pool(x).squeeze(), expected)
    # The coefficient does not know the size of values, nor their sign.
    for factor in (1e-30, 1e30, -1.0):
        torch.testing.assert_close(pool(factor * x).squeeze(), factor * expected)


def test_it_starts_halfway():
    x = torch.randn(2, 3, 8, 8)
    pool = AdaptiveExponentialPool2d(3)
    start = pool(x)
    low, high = set_beta(pool, 0.0)(x), set_beta(pool, 1.0)(x)
    torch.testing.assert_close(start, (low + high) / 2)


def test_a_grid_of_the_outputs_size_has_a_beta_for_each_pixel():
    x = torch.randn(2, 3, 6, 9)
    pool = AdaptiveExponentialPool2d(3, stride=3, grid_size=(2, 3))
    nn.init.normal_(pool.beta_logit)
    low, high = (set_beta(AdaptiveExponentialPool2d(3, 3), b)(x) for b in (0.0, 1.0))
    beta = pool.beta_logit.sigmoid()
    torch.testing.assert_close(pool(x), beta * high + (1 - beta) * low)


def test_a_grid_is_stretched_over_other_sizes():
    pool = AdaptiveExponentialPool2d(1, grid_size=(1, 2))
    pool.beta_logit.data = torch.tensor([-40.0, 40.0]).view(1, 1, 1, 2)
    x = torch.randn(1, 1, 4, 16)
    low, high = (set_beta(AdaptiveExponentialPool2d(1), b)(x) for b in (0.0, 1.0))
    y = pool(x)
    torch.testing.assert_close(y[..., :2], low[..., :2])
    torch.testing.assert_close(y[..., -2:], high[..., -2:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_large_and_small_values(dtype):
    largest = torch.finfo(dtype).max
    for size in (largest / 64, 1.0, torch.finfo(dtype).tiny):
        x = (size * torch.randn(2, 3, 7, 8)).to(dtype).requires_grad_()
        y = AdaptiveExponentialPool2d(3)(x)
        assert y.isfinite().all()
        assert (y <= F.max_pool2d(x, 2)).all() and (y >= -F.max_pool2d(-x, 2)).all()
        y.sum().backward()
        assert x.grad.isfinite().all()


def test_dice_sorensen():
    a, b = torch.randn(2, 50, dtype=torch.float64)
    expected = 2 * (a * b).abs() / (a**2 + b**2)
    torch.testing.assert_close(dice_sorensen(a, b), expected)
    assert dice_sorensen(a, a).eq(1).all()


@pytest.mark.parametrize("grid_size", [0, (2,), (2, 0), 1.5, "2", (1, 2, 3)])
def test_bad_grids(grid_size):
    with pytest.raises(ConfigError, match="grid_size="):
        AdaptiveExponentialPool2d(3, grid_size=grid_size)


@pytest.mark.parametrize("kwargs", [dict(window=3), dict(padding=1)])
def test_windows_do_not_overlap(kwargs):
    ((name, value),) = kwargs.items()
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        AdaptiveExponentialPool2d(3, **kwargs)
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        MixedPool2d(3, pools=[dict(type="AdaptiveExponentialPool2d")], **kwargs)
