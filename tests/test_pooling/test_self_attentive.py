import warnings

import pytest
import torch
from oracles import assert_equals_formula, randomized
from torch import nn

from attnpool_mm.pooling import SelfAttentivePool2d
from attnpool_mm.pooling.self_attention import aligned_attention
from attnpool_mm.utils.errors import ConfigError

ABLATIONS = [
    dict(exp=False),
    dict(sigmoid=False),
    dict(position=False),
    dict(embed_norm=False),
    dict(restore_norm=False),
]


def make(channels=6, **kwargs):
    """A pool in float64 with every parameter away from its initial value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pool = SelfAttentivePool2d(channels, **kwargs)
    return randomized(pool.double())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("patch_size", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [2, 3, 4])
def test_equals_the_formula(
    small_maps_allowed, stride, patch_size, normalize, training
):
    pool = make(stride=stride, patch_size=patch_size, normalize=normalize)
    pool.train(training)
    for size in ((12, 12), (9, 7), (5, 14), (2, 3), (1, 1)):
        assert_equals_formula(pool, torch.randn(2, 6, *size, dtype=torch.float64))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda a: next(iter(a)))
@pytest.mark.parametrize("kwargs", [dict(), dict(patch_size=2, normalize=False)])
def test_ablations_equal_the_formula(kwargs, ablation, training):
    pool = make(num_heads=3, **kwargs, **ablation).train(training)
    assert_equals_formula(pool, torch.randn(2, 6, 7, 8, dtype=torch.float64))


@pytest.mark.parametrize("embed_ratio, heads, width", [
    (1, 4, 8), (0.25, 2, 2), (0.1, 4, 4), (2, 2, 12), (1, 1, 6),
])  # fmt: skip
def test_token_width(embed_ratio, heads, width):
    pool = make(embed_ratio=embed_ratio, num_heads=heads)
    assert pool.embed.conv.out_channels == width  # h·max(1, round(r·6/h))
    assert_equals_formula(pool, torch.randn(2, 6, 6, 6, dtype=torch.float64))


@pytest.mark.parametrize("kwargs", [
    dict(), dict(patch_size=2, normalize=False), dict(normalize=False, stride=3),
    dict(patch_size=4), *ABLATIONS,
], ids=str)  # fmt: skip
def test_every_parameter_gets_a_gradient(kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pool = SelfAttentivePool2d(6, **kwargs)
    pool(torch.rand(2, 6, 8, 8)).sum().backward()
    assert [n for n, p in pool.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("patch_size", [1, 2])
def test_one_image_in_training(patch_size):
    pool = make(patch_size=patch_size, normalize=False)
    assert_equals_formula(pool, torch.randn(1, 6, 5, 4, dtype=torch.float64))


def test_one_token_of_one_image_trains_without_the_first_norm():
    pool = make(patch_size=4, normalize=False, embed_norm=False)
    assert_equals_formula(pool, torch.randn(1, 6, 4, 4, dtype=torch.float64))


def test_running_variance_differs_by_the_count_alone(monkeypatch):
    x = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    pool = make(patch_size=2, normalize=False)
    norm = pool.restore.norm
    norm.momentum = 1.0
    stored = []
    for commutes in (True, False):  # False: the norm sees the upsampled map
        monkeypatch.setattr(pool, "_restore_commutes", lambda *_, c=commutes: c)
        pool(x)
        stored.append((norm.running_mean.clone(), norm.running_var.clone()))
    (mean, var), (upsampled_mean, upsampled_var) = stored
    torch.testing.assert_close(mean, upsampled_mean)
    tokens, pixels = 2 * 4 * 4, 2 * 8 * 8
    torch.testing.assert_close(
        var * (tokens - 1) / tokens, upsampled_var * (pixels - 1) / pixels
    )


def test_weights_lie_between_one_and_e():
    weight = make().compute_weight(torch.randn(2, 6, 8, 8, dtype=torch.float64) * 100)
    assert weight.min() >= 1
    assert weight.max() <= torch.e


@pytest.mark.parametrize("patch_size, stride", [(2, 2), (4, 2), (3, 3)])
def test_multiple_of_stride_warns_and_is_average_pooling(patch_size, stride):
    with pytest.warns(UserWarning, match="normalize=False"):
        pool = SelfAttentivePool2d(6, stride=stride, patch_size=patch_size)
    x = torch.randn(2, 6, 12, 12)
    torch.testing.assert_close(pool(x), nn.AvgPool2d(stride)(x))
    with pytest.warns(UserWarning, match="normalize=False"):
        pool = SelfAttentivePool2d(6, stride, patch_size, window=stride - 1)
    torch.testing.assert_close(pool(x), nn.AvgPool2d(stride - 1, stride)(x))


@pytest.mark.parametrize("kwargs", [
    dict(patch_size=1), dict(patch_size=3), dict(patch_size=2, normalize=False),
    dict(patch_size=2, window=3, padding=1), dict(patch_size=2, padding=1),
], ids=str)  # fmt: skip
def test_useful_settings_do_not_warn(kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SelfAttentivePool2d(6, stride=2, **kwargs)(torch.rand(2, 6, 8, 8))


def test_patch_larger_than_the_map_is_said_and_works():
    pool = SelfAttentivePool2d(6, patch_size=8, normalize=False)
    with pytest.warns(UserWarning, match="patch_size=8.*4x5"):
        assert pool(torch.rand(2, 6, 4, 5)).shape == (2, 6, 2, 2)


def test_maps_longer_than_the_position_tables():
    pool = SelfAttentivePool2d(4).eval()
    assert pool(torch.rand(1, 4, 2, 300)).isfinite().all()


def test_without_sigmoid_large_logits_stay_finite():
    pool = SelfAttentivePool2d(4, sigmoid=False, restore_norm=False)
    nn.init.constant_(pool.restore.conv.bias, 200.0)  # exp(200) is inf in float32
    x = torch.rand(2, 4, 7, 7, requires_grad=True)
    y = pool(x)
    y.sum().backward()
    assert y.isfinite().all() and x.grad.isfinite().all()


@pytest.mark.parametrize("width", [3, 8, 12])
def test_widened_heads_attend_alike(width):
    query, key, value = torch.randn(3, 2, 4, 10, width, dtype=torch.float64)
    expected = torch.softmax(query @ key.mT / width**0.5, -1) @ value
    for multiple in (1, 8):
        actual = aligned_attention(query, key, value, multiple)
        torch.testing.assert_close(actual, expected)


def test_no_tensor_of_tokens_squared_is_saved_or_made():
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.numel())
            return out

    side, channels = 48, 4
    pool = SelfAttentivePool2d(channels, num_heads=2)
    x = torch.rand(1, channels, side, side, requires_grad=True)
    with Sizes():
        pool(x).sum().backward()
        with torch.no_grad():
            pool.eval()(x)
    assert 0 < largest < side**4 / 10  # N×N is side⁴


@pytest.mark.parametrize("kwargs, message", [
    (dict(stride=0), "stride=0"),
    (dict(stride=2.0), "stride=2.0"),
    (dict(num_heads=0), "num_heads=0"),
    (dict(patch_size=0), "patch_size=0"),
    (dict(in_channels=-1), "in_channels=-1"),
    (dict(embed_ratio=0), "embed_ratio=0"),
    (dict(embed_ratio="1"), "embed_ratio='1'"),
    (dict(normalize=1), "normalize=1"),
    (dict(exp=False, sigmoid=False), "exp=False.*sigmoid=False"),
])  # fmt: skip
def test_bad_arguments(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        SelfAttentivePool2d(**{"in_channels": 8, **kwargs})


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_logits_without_bound_in_overlapping_windows(dtype):
    torch.manual_seed(0)
    pool = SelfAttentivePool2d(6, sigmoid=False, window=3, padding=1).eval()
    nn.init.constant_(pool.restore.norm.weight, 3e3)  # exp of it overflows
    x = torch.randn(2, 6, 9, 8).to(dtype).requires_grad_()
    y = pool.to(dtype)(x)
    y.float().square().sum().backward()
    largest = nn.functional.max_pool2d(x, 3, 2, 1)
    smallest = -nn.functional.max_pool2d(-x, 3, 2, 1)
    assert ((y <= largest + 1e-2) & (y >= smallest - 1e-2)).all()  # NaN is not
    assert x.grad.isfinite().all()
    assert pool.compute_weight(x).isfinite().all()


@pytest.mark.parametrize("rows, patch_size, patches", [
    (7, 2, [0, 0, 0, 1, 1, 2, 2]),
    (11, 4, [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]),
    (6, 2, [0, 0, 1, 1, 2, 2]),
])  # fmt: skip
def test_the_grid_of_patches_is_stretched_over_the_map(rows, patch_size, patches):
    torch.manual_seed(0)
    pool = SelfAttentivePool2d(2, 1, patch_size, 1, normalize=False, sigmoid=False)
    x = torch.rand(1, 2, rows, patch_size) + 1
    found = (pool.eval()(x) / x)[0, 0, :, 0]  # the weight of each row
    h = rows // patch_size
    assert patches == [i * h // rows for i in range(rows)]
    by_patch = torch.stack([found[patches.index(j)] for j in range(h)])
    torch.testing.assert_close(found, by_patch[patches])
    assert by_patch.unique().numel() == h
