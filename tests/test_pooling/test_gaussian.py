import numpy as np
import oracles
import pytest
import torch
import torch.nn.functional as F
from oracles import assert_equals_formula, randomized
from torch import nn

from attnpool_mm.pooling import GaussianPool2d
from attnpool_mm.utils.errors import ConfigError

SIZES = [(8, 8), (7, 9), (2, 3), (1, 1)]


def make(channels=4, **kwargs):
    return randomized(GaussianPool2d(channels, **kwargs).double())


def norms_in_eval(pool):
    """Training mode, and the norms with their stored statistics."""
    for module in pool.train().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return pool


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("channels", [1, 4, 5])
def test_evaluation_equals_the_formula(channels, stride):
    pool = make(channels, stride=stride).eval()
    for size in SIZES:
        x = torch.randn(2, channels, *size, dtype=torch.float64)
        assert_equals_formula(pool, x)


@pytest.mark.parametrize("norm_eval", [True, False])
def test_noise_is_standard_normal_and_new_for_each_output_element(norm_eval):
    pool = norms_in_eval(make()) if norm_eval else make()
    x = torch.randn(4, 4, 40, 40, dtype=torch.float64)
    with torch.no_grad():
        mean, deviation, shift, spread = oracles.gaussian_parameters(pool, x)
        moved = (pool(x) - mean) / deviation  # softplus(μ + σ·ε)
        noise = (torch.log(torch.expm1(moved)) - shift) / spread
    n = noise.numel()  # 6400
    assert noise.mean().abs() < 5 / n**0.5
    assert (noise.var() - 1).abs() < 5 * (2 / n) ** 0.5
    assert (noise**4).mean() == pytest.approx(3, abs=5 * (96 / n) ** 0.5)
    for axis in range(4):  # neighbours: images, channels, rows, columns
        pairs = (noise * noise.roll(1, axis)).mean()
        assert pairs.abs() < 5 / n**0.5


def test_mean_and_spread_over_draws():
    pool = norms_in_eval(make())
    x = torch.randn(1, 4, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        mean, deviation, shift, spread = oracles.gaussian_parameters(pool, x)
        draws = torch.stack([(pool(x) - mean) / deviation for _ in range(20)])
    draws = draws.transpose(0, 2).flatten(1)  # by channel
    # ∫ softplus(μ + σ·ε) N(ε) dε by Gauss and Hermite.
    nodes, weights = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(60))
    weights = weights / weights.sum()
    values = torch.log1p(torch.exp(shift.view(-1, 1) + spread.view(-1, 1) * nodes))
    expected = values @ weights
    variance = values**2 @ weights - expected**2
    n = draws.shape[1]
    assert ((draws.mean(1) - expected).abs() < 5 * (variance / n).sqrt()).all()
    torch.testing.assert_close(draws.var(1), variance, rtol=0.05, atol=0)


def test_equal_windows_have_the_least_deviation():
    pool = make().eval()
    x = torch.randn(2, 4, 1, 1, dtype=torch.float64).repeat(1, 1, 6, 6)
    x.requires_grad_()
    y = pool(x)
    _, _, shift, _ = oracles.gaussian_parameters(pool, x)
    expected = F.avg_pool2d(x, 2) + 1e-3 * F.softplus(shift)  # variance 1e-6
    torch.testing.assert_close(y, expected, atol=1e-12, rtol=0)
    y.sum().backward()
    assert x.grad.isfinite().all()


def test_one_image_in_training_is_an_error_that_says_why():
    pool, x = GaussianPool2d(4), torch.rand(1, 4, 6, 6)
    with pytest.raises(ConfigError, match="batch of 1.*at least 2"):
        pool(x)
    assert pool.hidden.norm.num_batches_tracked == 0
    assert pool.eval()(x).shape == (1, 4, 3, 3)
    assert norms_in_eval(pool)(x).shape == (1, 4, 3, 3)


def test_bad_arguments():
    with pytest.raises(ConfigError, match="stride=0"):
        GaussianPool2d(4, stride=0)
    with pytest.raises(ConfigError, match="in_channels=2.5"):
        GaussianPool2d(2.5)
