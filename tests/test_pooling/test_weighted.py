import oracles
import pytest
import torch
import torch.nn.functional as F

from attnpool_mm.pooling import WeightedPool2d, weighted_pool2d
from attnpool_mm.pooling.weighted import softmax_pool2d, subtract_window_max
from attnpool_mm.utils.errors import ConfigError

WINDOWS = [(2, 3, 1), (2, 4, 2), (2, 5, 0), (3, 2, 1), (1, 3, 1), (4, 1, 0), (4, 4, 2)]
MEMORY_FORMATS = [torch.contiguous_format, torch.channels_last]


class Brightest(WeightedPool2d):
    def compute_weight(self, x):
        return x.exp()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("stride", [1, 2, 3])
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


@pytest.mark.parametrize("stride, window, padding", WINDOWS)
@pytest.mark.parametrize("size", [(8, 12), (7, 5), (3, 1), (1, 1)])
def test_any_windows_equal_the_loops(size, stride, window, padding):
    x, w = torch.randn(2, 3, *size), torch.rand(2, 3, *size) + 0.5
    for normalize in (True, False):
        args = stride, normalize, window, padding
        expected = oracles.pool_windows(x, w, *args)
        torch.testing.assert_close(weighted_pool2d(x, w, *args), expected)
    y = softmax_pool2d(x, w.log(), stride, window, padding)
    expected = oracles.pool_windows(x, w, stride, True, window, padding)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("stride, window, padding", WINDOWS)
@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (3, 5), (6, 2)])
def test_coarse_weights_in_any_windows(grid, stride, window, padding):
    x, w = torch.randn(2, 3, 12, 18), torch.rand(2, 3, *grid) + 0.5
    full = oracles.nearest(w, 12, 18)
    for normalize in (True, False):
        args = stride, normalize, window, padding
        expected = oracles.pool_windows(x, full, *args)
        torch.testing.assert_close(weighted_pool2d(x, w, *args), expected)


@pytest.mark.parametrize("stride, window, padding", WINDOWS)
def test_equal_weights_are_the_average_inside_the_map(stride, window, padding):
    x, w = torch.randn(2, 3, 9, 8), torch.ones(2, 1, 9, 8)
    expected = F.avg_pool2d(x, window, stride, padding, count_include_pad=False)
    for normalize in (True, False):
        y = weighted_pool2d(x, w, stride, normalize, window, padding)
        torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_logarithms_of_any_size(dtype):
    torch.manual_seed(0)
    x, log_weight = torch.randn(2, 2, 3, 9, 8).to(dtype)
    log_weight = (6e4 * log_weight.clamp(-1, 1)).requires_grad_()
    x.requires_grad_()
    y = softmax_pool2d(x, log_weight, 2, 3, 1)
    assert y.dtype == dtype
    y.sum().backward()
    assert x.grad.isfinite().all() and log_weight.grad.isfinite().all()
    with torch.no_grad():
        # As good as all weight is on the largest, but where two are near.
        small = log_weight.double() - 6e4
        rows, columns = (oracles.windows_of(side, 2, 3, 1) for side in (9, 8))
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                window = small[..., row, column].flatten(2)
                pixels = x[..., row, column].flatten(2).double()
                share = (window - window.max(2, keepdim=True).values).exp()
                expected = (pixels * share).sum(2) / share.sum(2)
                torch.testing.assert_close(
                    y[..., i, j].double(), expected, atol=1e-3, rtol=1e-3
                )


@pytest.mark.parametrize("arguments, message", [
    (dict(window=0), "window=0"),
    (dict(window=2.0), "window=2.0"),
    (dict(window=True), "window=True"),
    (dict(padding=-1), "padding=-1"),
    (dict(padding=2), "padding=2.*0 to 1.*window=2"),
    (dict(window=5, padding=3), "padding=3.*0 to 2.*window=5"),
    (dict(window=3, padding=0.5), "padding=0.5"),
])  # fmt: skip
def test_bad_windows(arguments, message):
    x = torch.rand(1, 1, 4, 4)
    for call in (
        lambda: Brightest(1, stride=2, **arguments),
        lambda: weighted_pool2d(x, x, 2, **arguments),
        lambda: softmax_pool2d(x, x, 2, **arguments),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


def test_limits_of_the_weights():
    x = torch.randn(2, 3, 9, 8)
    for value in (1.0, 7.5):  # equal weights: the average
        y = weighted_pool2d(x, torch.full_like(x, value), 2)
        torch.testing.assert_close(y, F.avg_pool2d(x, 2))
    w = torch.ones_like(x)
    w[..., ::2, 1::2] = 1e12  # a huge weight: its element, the upper right one
    torch.testing.assert_close(weighted_pool2d(x, w, 2), x[..., :8:2, 1::2])
    w = torch.rand(2, 1, 9, 8) + 0.1  # a factor of all of them: nothing
    torch.testing.assert_close(weighted_pool2d(x, 3 * w, 2), weighted_pool2d(x, w, 2))


def test_one_weight_for_all_channels():
    x, w = torch.randn(2, 3, 6, 6), torch.rand(2, 1, 6, 6) + 0.1
    expected = weighted_pool2d(x, w.expand(-1, 3, -1, -1), 2)
    torch.testing.assert_close(weighted_pool2d(x, w, 2), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_keeps_the_data_type_of_the_map(dtype):
    x = torch.full((1, 2, 4, 4), 6e4).to(dtype)  # sums of it overflow float16
    y = weighted_pool2d(x, torch.ones(1, 2, 4, 4), 2)
    assert y.dtype == dtype and (y == x[..., ::2, ::2]).all()


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
    with pytest.raises(ConfigError, match="5x4.*4x4"):
        weighted_pool2d(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 5, 4), 2)


@pytest.mark.parametrize("normalize", [True, False])
def test_derivatives_of_every_kind(normalize):
    def pool(x, w):
        return weighted_pool2d(x, w.exp(), 2, normalize)

    inputs = [
        torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
    ]
    torch.autograd.gradcheck(
        pool, inputs, check_forward_ad=True, check_batched_grad=True
    )
    torch.autograd.gradgradcheck(pool, inputs)


@pytest.mark.parametrize("memory_format", MEMORY_FORMATS)
@pytest.mark.parametrize("other", MEMORY_FORMATS)
def test_the_output_has_the_memory_format_of_the_map(memory_format, other):
    x, w = torch.randn(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    expected = weighted_pool2d(x, w, 2)
    x, w = x.to(memory_format=memory_format), w.to(memory_format=other)
    y = weighted_pool2d(x, w, 2)
    assert y.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(y, expected)


def test_a_pool_of_ones_own():
    pool, x = Brightest(3), torch.randn(2, 3, 6, 7)
    expected = oracles.pool_windows(x, x.exp(), 2, True)
    torch.testing.assert_close(pool(x), expected)
    with pytest.raises(NotImplementedError, match="compute_weight"):
        WeightedPool2d(3)(x)
