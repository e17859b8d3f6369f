"""Random pools on random maps agree with the formulas, in every data type."""

import copy
import math
import warnings
from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from oracles import assert_equals_formula, condition_of, pool_of, randomized

from attnpool_mm.pooling import build_pool, pool_names

CHANNELS = 4
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
ROUNDINGS = 16  # of the largest value, times what norms make of one


def in_windows(cfgs):
    """Pools whose windows may overlap or be padded."""
    windows = st.integers(1, 5).flatmap(
        lambda n: st.tuples(st.just(n), st.integers(0, n // 2))
    )
    own = windows.map(lambda w: dict(window=w[0], padding=w[1]))
    return st.tuples(cfgs, st.just({}) | own).map(lambda p: p[0] | p[1])


def cfg_of(kind, **arguments):
    return st.fixed_dictionaries(dict(type=st.just(kind), **arguments))


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
soft = cfg_of("SoftPool2d")
adaptive = cfg_of(
    "AdaptiveExponentialPool2d",
    grid_size=st.one_of(st.integers(1, 3), st.tuples(*[st.integers(1, 3)] * 2)),
)


def mixed(*parts):
    pools = st.lists(st.one_of(parts), min_size=1, max_size=3)
    return cfg_of("MixedPool2d", pools=pools)


def normalized_or_not(cfgs):
    return st.tuples(cfgs, st.booleans()).map(lambda p: dict(p[0], normalize=p[1]))


def weighted(cfgs):
    return in_windows(normalized_or_not(cfgs))


KINDS = {
    "AdaptiveExponentialPool2d": normalized_or_not(adaptive),
    "AttentionPool2d": cfg_of("AttentionPool2d", **heads, **convs),
    "AvgPool2d": cfg_of("AvgPool2d"),
    "BlurPool2d": cfg_of(
        "BlurPool2d",
        kernel_size=st.integers(1, 7),
        padding_mode=st.sampled_from(["reflect", "zeros"]),
    ),
    "DeformableSelfAttentivePool2d": weighted(deformable),
    "GaussianPool2d": cfg_of("GaussianPool2d"),
    "LocalImportancePool2d": weighted(local),
    "MaxPool2d": cfg_of("MaxPool2d"),
    "MixedPool2d": weighted(mixed(attentive, deformable, local, soft))
    | normalized_or_not(mixed(attentive, soft, adaptive)),
    "SelfAttentivePool2d": weighted(attentive),
    "SoftPool2d": weighted(soft),
    "StridedConv2d": cfg_of("StridedConv2d", kernel_size=st.sampled_from([1, 3, 5])),
}

WITH_DEFORMABLE = ("DeformableSelfAttentivePool2d", "MixedPool2d")


@dataclass
class Case:
    """A pool, a map, and how it is run."""

    cfg: dict
    stride: int
    size: tuple[int, int]
    batch: int
    dtype: torch.dtype
    channels_last: bool
    training: bool
    seed: int

    def make(self):
        """The pool and its input."""
        torch.manual_seed(self.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pool = build_pool(self.cfg, CHANNELS, self.stride)
        pool = randomized(pool, std=0.3).to(self.dtype).train(self.training)
        # After global pooling a norm gets one value an image, and needs two.
        batch = max(2, self.batch) if self.training else self.batch
        x = torch.randn(batch, CHANNELS, *self.size).to(self.dtype)
        if self.channels_last:
            last = torch.channels_last
            pool, x = pool.to(memory_format=last), x.to(memory_format=last)
        return pool, x

    def noise(self, like):
        """What `GaussianPool2d` draws after the same seed."""
        if not self.training:
            return 0.0
        double = self.dtype == torch.float64
        noise = torch.randn(
            like.shape, dtype=torch.float64 if double else torch.float32
        )
        return noise.double()


def cases(kind, dtype):
    """Cases of one pool in one data type, so that each gets its share."""
    # The deformable pool's formula is a loop over the pixels.
    sides = st.integers(1, 5 if kind in WITH_DEFORMABLE else 8)
    return st.builds(
        Case,
        KINDS[kind],
        stride=st.integers(1, 4),
        size=st.tuples(sides, sides),
        batch=st.integers(1, 3),
        dtype=st.just(dtype),
        channels_last=st.booleans(),
        training=st.booleans(),
        seed=st.integers(0, 2**32 - 1),
    )


def check(case):
    pool, x = case.make()
    exact, x64 = copy.deepcopy(pool).double(), x.double().contiguous()
    torch.manual_seed(case.seed)
    with torch.no_grad():
        y = pool(x)
    torch.manual_seed(case.seed)
    expected = pool_of(exact, x64, case.noise(y)).detach()
    assert y.dtype == case.dtype and y.shape == expected.shape
    if case.dtype == torch.float64:
        torch.testing.assert_close(y, expected, atol=1e-9, rtol=1e-7)
        if case.cfg["type"] != "GaussianPool2d":
            assert_equals_formula(*case.make())
    rounding = torch.finfo(case.dtype).eps
    # A ReLU at the end may have left little of values around 1.
    scale = expected.abs().max().clamp(min=1) * condition_of(exact, x64)
    assert (y.double() - expected).abs().max() <= ROUNDINGS * rounding * scale


pytestmark = pytest.mark.usefixtures("small_maps_allowed")


def test_every_pool_is_among_the_cases():
    assert sorted(KINDS) == pool_names()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("total", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_cases(kind, dtype, total):
    run = settings(
        max_examples=math.ceil(total / len(KINDS) / len(DTYPES)),
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )(given(cases(kind, dtype))(check))
    seed(f"{kind} {dtype}")(run)()
