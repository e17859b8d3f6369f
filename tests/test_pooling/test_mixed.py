import pytest
import torch
from oracles import (
    assert_equals_formula,
    pool_windows,
    randomized,
    self_attentive_weight,
)
from torch import nn

from attnpool_mm.pooling import MixedPool2d, WeightedPool2d
from attnpool_mm.utils.errors import ConfigError

LOCAL = dict(type="LocalImportancePool2d")
ATTENTIVE = dict(type="SelfAttentivePool2d")
DEFORMABLE = dict(type="DeformableSelfAttentivePool2d")
MIXTURES = {
    "mixp": [LOCAL, ATTENTIVE],
    "mixp, patch 2": [LOCAL, dict(ATTENTIVE, patch_size=2)],
    "mixp, patch 3": [LOCAL, dict(ATTENTIVE, patch_size=3)],
    "dfmixp, patch 1": [DEFORMABLE, LOCAL],
    "dfmixp, patch 2": [dict(DEFORMABLE, patch_size=2), dict(LOCAL, kernel_size=2)],
    "dfmixp, patch 4": [dict(DEFORMABLE, patch_size=4), dict(LOCAL, kernel_size=4)],
    "original": [dict(LOCAL, form="original"), ATTENTIVE],
    "one": [dict(ATTENTIVE, patch_size=2)],
    "one grid": [dict(ATTENTIVE, patch_size=2), dict(ATTENTIVE, patch_size=2)],
    "two grids": [dict(ATTENTIVE, patch_size=2), dict(ATTENTIVE, patch_size=3)],
    "no sigmoid": [dict(ATTENTIVE, sigmoid=False), LOCAL],
    "nested": [dict(type="MixedPool2d"), LOCAL],
}


@pytest.mark.filterwarnings("ignore:SelfAttentivePool2d with patch_size")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("name", MIXTURES)
def test_equals_the_formula(small_maps_allowed, name, normalize, training):
    mixture = MIXTURES[name]
    pool = MixedPool2d(4, stride=2, pools=mixture, normalize=normalize).double()
    randomized(pool).train(training)
    for size in ((8, 4), (5, 7), (1, 1)):
        assert_equals_formula(pool, torch.randn(2, 4, *size, dtype=torch.float64))


@pytest.mark.filterwarnings("ignore:SelfAttentivePool2d with patch_size")
def test_weights_of_one_coarse_grid_stay_on_it():
    x = torch.randn(2, 4, 12, 8)
    for name, grid in (("one grid", (6, 4)), ("two grids", (12, 8))):
        weight = MixedPool2d(4, pools=MIXTURES[name]).compute_weight(x)
        assert weight.shape == (2, 4, *grid)


def test_the_parts_get_what_the_mixture_has():
    pool = MixedPool2d(6, stride=3, normalize=False)
    assert [type(part).__name__ for part in pool.pools] == [
        "LocalImportancePool2d",
        "SelfAttentivePool2d",
    ]
    for part in pool.pools:
        assert (part.in_channels, part.stride, part.normalize) == (6, 3, False)
        assert (part.window, part.padding) == (3, 0)
    for part in MixedPool2d(6, window=3, padding=1).pools:
        assert (part.window, part.padding) == (3, 1)


class Bright(WeightedPool2d):
    """A pool of one's own that knows nothing of windows."""

    def __init__(self, in_channels, stride=2, normalize=True):
        super().__init__(in_channels, stride, normalize)

    def compute_weight(self, x):
        return x.sigmoid()


def test_overlapping_windows_of_logits_without_bound():
    torch.manual_seed(0)
    parts = [dict(ATTENTIVE, sigmoid=False), dict(type=Bright)]
    pool = MixedPool2d(4, pools=parts, window=3, padding=1).eval()
    x = torch.randn(2, 4, 7, 6)
    w = self_attentive_weight(pool.pools[0], x) * x.sigmoid()
    expected = pool_windows(x, w, 2, True, window=3, padding=1)
    torch.testing.assert_close(pool(x), expected)
    nn.init.constant_(pool.pools[0].restore.norm.weight, 1e5)  # exp of it overflows
    y = pool(x.requires_grad_())
    y.sum().backward()
    assert y.isfinite().all() and x.grad.isfinite().all()
    assert y.max() <= x.max() and y.min() >= x.min()


@pytest.mark.parametrize("windows", [{}, dict(window=3, padding=1)], ids=str)
def test_parts_without_bound_that_differ(windows):
    parts = [dict(type="SoftPool2d"), dict(ATTENTIVE, sigmoid=False), dict(type=Bright)]
    pool = MixedPool2d(4, pools=parts, **windows).double().eval()
    x = torch.randn(2, 4, 8, 6, dtype=torch.float64)
    w = x.exp() * self_attentive_weight(pool.pools[1], x) * x.sigmoid()
    torch.testing.assert_close(pool(x), pool_windows(x, w, 2, True, **windows))
    # Where exp(x) is largest in a window, the other weight is least.
    pool = MixedPool2d(4, pools=parts, **windows).eval()
    pool.pools[1]._logit = lambda x, size: -x
    x = (1e3 * torch.randn(2, 4, 8, 6)).requires_grad_()
    y = pool(x)
    w = x.sigmoid().clamp(min=torch.finfo(x.dtype).tiny)
    expected = pool_windows(x, w, 2, True, **windows)
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("pools, message", [
    ([], r"pools=\[\]"),
    (LOCAL, "pools={'type'"),
    (["LocalImportancePool2d"], "'LocalImportancePool2d'"),
    ([dict(type="NoPool")], "type='NoPool'"),
    ([LOCAL, dict(type="MaxPool2d")], "type='MaxPool2d'"),
    ([dict(LOCAL, in_channels=4, normalize=True)], "in_channels, normalize"),
    ([dict(LOCAL, window=3, padding=1)], "padding, window"),
    ([dict(ATTENTIVE, heads=2)], "heads.*num_heads"),
])  # fmt: skip
def test_bad_arguments(pools, message):
    with pytest.raises(ConfigError, match=message) as error:
        MixedPool2d(4, pools=pools)
    assert "\n" not in str(error.value)
