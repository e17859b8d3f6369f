import copy
import random

import pytest
import torch
from oracles import assert_equals_formula, randomized
from torch import nn

from attnpool_mm.pooling import AttentionPool2d
from attnpool_mm.utils.errors import ConfigError


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("channels, heads", [(6, 2), (5, 1), (4, 3)])
def test_equals_the_formula(channels, heads, stride, training):
    pool = randomized(AttentionPool2d(channels, stride, heads).double())
    pool.train(training)
    for size in ((8, 8), (9, 7), (2, 5), (1, 1)):
        x = torch.randn(2, channels, *size, dtype=torch.float64)
        assert_equals_formula(pool, x)


def test_without_attention_it_is_a_strided_convolution():
    pool = randomized(AttentionPool2d(6).eval())
    out = pool.attention.out_proj
    nn.init.zeros_(out.weight)  # every token is the bias of the last projection
    x = torch.randn(2, 6, 6, 8)
    constant = out.bias[None, :, None, None].expand_as(x)
    torch.testing.assert_close(pool(x), pool.project(constant))


def test_rows_that_fill_no_window_are_seen_by_the_attention_alone():
    pool = randomized(AttentionPool2d(6, stride=2).eval())
    x = torch.randn(1, 6, 5, 4, requires_grad=True)
    y = pool(x)
    assert y.shape == (1, 6, 2, 2)
    y.sum().backward()
    assert (x.grad[:, :, 4].abs().sum(1) > 0).all()


def training_error(seed, dtype):
    """That of a random case, and what its last norm multiplies roundings by."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    channels, stride, heads = rng.choice([1, 4, 16]), rng.randint(1, 4), 2
    size = rng.randint(1, 9), rng.randint(1, 9)
    pool = AttentionPool2d(channels, stride, heads).to(dtype)
    exact = copy.deepcopy(pool).double()
    seen = []
    exact.project.norm.register_forward_pre_hook(lambda norm, args: seen.append(*args))
    x = torch.randn(2, channels, *size).to(dtype)
    with torch.no_grad():
        error = (pool(x).double() - exact(x.double())).abs().max().item()
    (x,) = seen
    deviation = (x.var((0, 2, 3), unbiased=False) + exact.project.norm.eps).sqrt()
    return error, max(1.0, (x.abs().amax((0, 2, 3)) / deviation).max().item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_error_in_training_is_rounding_times_the_condition_of_the_norm(dtype):
    rounding = torch.finfo(dtype).eps
    cases = [training_error(seed, dtype) for seed in range(50)]
    ratios = [error / (rounding * condition) for error, condition in cases]
    assert max(ratios) < 12
    # The worst are the ill-conditioned ones, in every data type alike.
    assert 20 * rounding < max(error for error, _ in cases) < 400 * rounding
    assert max(error for error, condition in cases if condition < 10) < 60 * rounding


@pytest.mark.parametrize("kwargs, message", [
    (dict(in_channels=0), "in_channels=0"),
    (dict(stride=0), "stride=0"),
    (dict(num_heads=0), "num_heads=0"),
])  # fmt: skip
def test_bad_arguments(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        AttentionPool2d(**{"in_channels": 8, **kwargs})
