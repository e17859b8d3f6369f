import math

import pytest
import torch
import torch.nn.functional as F

from attnpool_mm.pooling import MixedPool2d, SoftPool2d


def softmax_of_windows(x, stride):
    """Softmax-weighted values of the windows, unfolded."""
    windows = F.unfold(x, stride, stride=stride).unflatten(1, (x.shape[1], -1))
    y = (windows.softmax(2) * windows).sum(2)
    return y.unflatten(2, [side // stride for side in x.shape[2:]])


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_softmax_over_a_window(stride):
    x = torch.randn(2, 3, 9, 7, dtype=torch.float64, requires_grad=True)
    y, expected = SoftPool2d(3, stride)(x), softmax_of_windows(x, stride)
    torch.testing.assert_close(y, expected)
    seed = torch.randn_like(y)
    torch.testing.assert_close(
        torch.autograd.grad(y, x, seed), torch.autograd.grad(expected, x, seed)
    )


def test_without_normalization():
    x = torch.randn(2, 3, 8, 8)
    expected = F.avg_pool2d(x.exp() * x, 2)
    torch.testing.assert_close(SoftPool2d(3, normalize=False)(x), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_large_values_are_max_pooling(dtype):
    step = 2.0 ** (math.frexp(torch.finfo(dtype).max)[1] - 10)  # 64 in float16
    x = (torch.randperm(336).view(2, 3, 7, 8) - 168) * step
    x = x.to(dtype).requires_grad_()
    y = SoftPool2d(3)(x)
    assert y.equal(F.max_pool2d(x, 2))
    y.sum().backward()
    assert x.grad.isfinite().all()
    overlapping = SoftPool2d(3, window=3, padding=1)
    assert overlapping(x).equal(F.max_pool2d(x, 3, stride=2, padding=1))


def test_small_values_are_average_pooling():
    x = 1e-4 * torch.randn(2, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(SoftPool2d(3)(x), F.avg_pool2d(x, 2), atol=1e-7, rtol=0)


def test_in_a_mixture():
    pool = MixedPool2d(3, pools=[dict(type="SoftPool2d")] * 2)
    x = torch.randn(2, 3, 8, 8)
    expected = softmax_of_windows(2 * x, 2) / 2  # exp(x)² = exp(2x)
    torch.testing.assert_close(pool(x), expected)
