"""Random pools on random maps agree with the formulas."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_equals_formula, pool_of, randomized

from attnpool_mm.pooling import build_pool

CHANNELS = 4


def cfg_of(kind, **arguments):
    return st.fixed_dictionaries(dict(type=st.just(kind), **arguments))


def in_windows(cfgs):
    """Pools whose windows may overlap or be padded."""
    windows = st.integers(1, 5).flatmap(
        lambda n: st.tuples(st.just(n), st.integers(0, n // 2))
    )
    own = windows.map(lambda w: dict(window=w[0], padding=w[1]))
    return st.tuples(cfgs, st.just({}) | own).map(lambda p: p[0] | p[1])


heads = dict(num_heads=st.integers(1, 3))
convs = dict(
    conv_cfg=st.sampled_from([None, dict(type="DynamicConv2d", temperature=1.0)])
)
patches = dict(
    heads,
    patch_size=st.integers(1, 4),
    embed_ratio=st.sampled_from([0.25, 0.6, 1.0, 2.0]),
)
parts = dict(
    position=st.booleans(), embed_norm=st.booleans(), restore_norm=st.booleans()
)
weight_from_logit = [dict(), dict(exp=st.just(False)), dict(sigmoid=st.just(False))]
attentive = st.one_of(
    cfg_of("SelfAttentivePool2d", **patches, **parts, **convs, **bounds)
    for bounds in weight_from_logit
)
deformable = cfg_of("DeformableSelfAttentivePool2d", **patches, **convs)
local = cfg_of(
    "LocalImportancePool2d",
    form=st.sampled_from(["sap", "original"]),
    kernel_size=st.integers(1, 4),
    hidden_channels=st.sampled_from([None, None, 3]),
    **convs,
)
mixed = cfg_of(
    "MixedPool2d",
    pools=st.lists(st.one_of(attentive, deformable, local), min_size=1, max_size=3),
)


def normalized_or_not(cfgs):
    cfgs = st.tuples(cfgs, st.booleans()).map(lambda p: dict(p[0], normalize=p[1]))
    return in_windows(cfgs)


RANDOM = {  # Gaussian pooling in training
    "GaussianPool2d": cfg_of("GaussianPool2d"),
}
KINDS = {
    "SelfAttentivePool2d": normalized_or_not(attentive),
    "DeformableSelfAttentivePool2d": normalized_or_not(deformable),
    "LocalImportancePool2d": normalized_or_not(local),
    "MixedPool2d": normalized_or_not(mixed),
    "AttentionPool2d": cfg_of("AttentionPool2d", **heads, **convs),
}
strides = st.integers(1, 4)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
seeds = st.integers(0, 2**32 - 1)


def make(cfg, stride, size, batch, seed):
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pool = build_pool(cfg, CHANNELS, stride)
    pool = randomized(pool.double(), std=0.3)
    return pool, torch.randn(batch, CHANNELS, *size, dtype=torch.float64)


pytestmark = pytest.mark.usefixtures("small_maps_allowed")


@pytest.mark.parametrize("kind", KINDS | RANDOM)
@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.data(), strides, sizes, st.integers(1, 3), seeds)
def test_evaluation(kind, data, stride, size, batch, seed):
    cfg = data.draw((KINDS | RANDOM)[kind])
    pool, x = make(cfg, stride, size, batch, seed)
    pool.eval()
    with torch.no_grad():
        y = pool(x)
        window = cfg.get("window", stride)
        rounding = stride + 2 * cfg.get("padding", 0) - window
        if cfg.get("form") == "original" and "window" not in cfg:
            rounding = stride - 1
        sides = (max(1, (side + rounding) // stride) for side in size)
        assert y.shape == (batch, CHANNELS, *sides)
        assert y.isfinite().all()
        torch.testing.assert_close(y, pool_of(pool, x), atol=1e-9, rtol=1e-7)
        assert torch.equal(pool(x), y)


@pytest.mark.parametrize("kind", KINDS)
@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.data(), strides, sizes, st.integers(2, 3), seeds)
def test_training(kind, data, stride, size, batch, seed):
    cfg = data.draw(KINDS[kind])
    assert_equals_formula(*make(cfg, stride, size, batch, seed))
