import oracles
import pytest
import torch
import torch.nn.functional as F

from attnpool_mm.pooling import WeightedPool2d, weighted_pool2d
from attnpool_mm.pooling.weighted import subtract_window_max, window_mean
from attnpool_mm.utils.errors import ConfigError

MEMORY_FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(8, 12), (7, 5), (3, 1), (1, 1)])
def test_equals_the_formula(size, stride, normalize):
    x, w = torch.randn(2, 3, *size), torch.rand(2, 3, *size) + 0.5
    y = weighted_pool2d(x, w, stride, normalize)
    torch.testing.assert_close(y, oracles.pool_windows(x, w, stride, normalize))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (4, 6), (3, 5), (6, 2)])
def test_coarse_weights_are_their_nearest_upsampling(grid, stride, normalize):
    x, w = torch.randn(2, 3, 12, 18), torch.rand(2, 3, *grid) + 0.5
    y = weighted_pool2d(x, w, stride, normalize)
    full = oracles.nearest(w, 12, 18)
    torch.testing.assert_close(y, oracles.pool_windows(x, full, stride, normalize))


def test_equal_weights_are_average_pooling():
    x = torch.randn(2, 3, 9, 8)
    for value in (1.0, 7.5):
        y = weighted_pool2d(x, torch.full_like(x, value), 2)
        torch.testing.assert_close(y, F.avg_pool2d(x, 2))


def test_a_huge_weight_picks_its_element():
    x = torch.randn(2, 3, 8, 8)
    w = torch.ones_like(x)
    w[..., ::2, 1::2] = 1e12  # the upper right of each window
    torch.testing.assert_close(weighted_pool2d(x, w, 2), x[..., ::2, 1::2])


def test_scaling_the_weights_changes_nothing():
    x, w = torch.randn(2, 3, 6, 6), torch.rand(2, 3, 6, 6) + 0.1
    torch.testing.assert_close(weighted_pool2d(x, 3 * w, 2), weighted_pool2d(x, w, 2))


def test_one_weight_for_all_channels():
    x, w = torch.randn(2, 3, 6, 6), torch.rand(2, 1, 6, 6) + 0.1
    expected = weighted_pool2d(x, w.expand(-1, 3, -1, -1), 2)
    torch.testing.assert_close(weighted_pool2d(x, w, 2), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_keeps_the_data_type_of_the_map(dtype):
    x = torch.randn(1, 2, 4, 4).to(dtype)
    assert weighted_pool2d(x, torch.ones(1, 2, 4, 4), 2).dtype == dtype


@pytest.mark.parametrize("size, stride", [((6, 9), 3), ((7, 5), 2), ((1, 4), 3)])
def test_subtract_window_max(size, stride):
    logit = torch.randn(2, 3, *size)
    shifted = subtract_window_max(logit, stride)
    window = [min(stride, side) for side in size]
    assert (F.max_pool2d(shifted, window) == 0).all()
    assert shifted.max() == 0
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(
        weighted_pool2d(x, shifted.exp(), stride),
        weighted_pool2d(x, logit.exp(), stride),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_leftover_rows_do_not_overflow(dtype):
    logit = torch.zeros(1, 1, 3, 3, dtype=dtype)
    logit[..., 2] = 1000  # beyond the last window
    logit.requires_grad_()
    x = torch.rand(1, 1, 3, 3).to(dtype)
    weighted_pool2d(x, subtract_window_max(logit, 2).exp(), 2).sum().backward()
    assert logit.grad.isfinite().all()


def test_a_finer_grid_is_refused():
    with pytest.raises(ConfigError, match="weight of 5x4 for a map of 4x4"):
        weighted_pool2d(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 5, 4), 2)


def test_channels_last_gives_the_same():
    x, w = torch.randn(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    last = torch.channels_last
    y = weighted_pool2d(x.to(memory_format=last), w.to(memory_format=last), 2)
    torch.testing.assert_close(y, weighted_pool2d(x, w, 2))


def test_the_base_needs_a_weight():
    with pytest.raises(TypeError, match="compute_weight"):
        WeightedPool2d(3)(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last]
)
@pytest.mark.parametrize("window", [(2, 2), (3, 1), (1, 1), (2, 5)])
def test_window_mean_is_average_pooling(window, memory_format):
    x = torch.randn(2, 3, 7, 5, dtype=torch.float64)
    x = x.contiguous(memory_format=memory_format).requires_grad_()
    y, expected = window_mean(x, window), F.avg_pool2d(x, window)
    torch.testing.assert_close(y, expected)
    seed = torch.randn_like(expected)
    (grad,) = torch.autograd.grad(y, x, seed)
    torch.testing.assert_close(grad, torch.autograd.grad(expected, x, seed)[0])
    assert grad.is_contiguous(memory_format=memory_format)
    torch.autograd.gradgradcheck(lambda x: window_mean(x.square(), window), x)


def test_forward_derivatives_of_the_gradient():
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    hessian = torch.func.hessian(lambda x: window_mean(x.square(), (2, 2)).sum())(x)
    torch.testing.assert_close(hessian.view(16, 16), torch.eye(16, dtype=x.dtype) / 2)


def test_window_mean_does_not_overflow():
    x = torch.full((1, 1, 4, 4), 6e4, dtype=torch.float16, requires_grad=True)
    assert (window_mean(x, (2, 2)) == 6e4).all()


def test_window_mean_keeps_no_map():
    kept = []

    def pack(tensor):
        kept.append(tensor)
        return tensor

    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        window_mean(x, (2, 2)).sum().backward()
    assert kept == []
    assert (x.grad == 0.25).all()


@pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last]
)
def test_the_output_has_the_memory_format_of_the_input(memory_format):
    class Brightest(WeightedPool2d):
        def compute_weight(self, x):
            return x.exp()

    for by_pixel in (True, False):
        pool = Brightest(3)
        pool.by_pixel = by_pixel
        x = torch.randn(2, 3, 8, 8).contiguous(memory_format=memory_format)
        assert pool(x).is_contiguous(memory_format=memory_format)
        torch.testing.assert_close(pool(x), oracles.pool_windows(x, x.exp(), 2, True))
