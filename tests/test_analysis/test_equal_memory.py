"""Which variants fit: against each network measured by itself."""

import pytest
from mmengine.config import Config

from attnpool_mm.analysis import measure_complexity
from attnpool_mm.analysis.equal_memory import (
    first_of_each_pool,
    fitting,
    measure_variants,
    nearest,
    nearest_misses,
)
from attnpool_mm.analysis.variants import STRIDED, Choices
from attnpool_mm.models import AttnPoolResNetCIFAR

NLP = "SelfAttentivePool2d"
BACKBONE = dict(type="attnpool_mm.AttnPoolResNetCIFAR", depth=8, block="basic")


@pytest.fixture(scope="module")
def candidates():
    pipeline = [dict(type="Resize", scale=32), dict(type="PackInputs")]
    cfg = Config(
        dict(
            default_scope="mmpretrain",
            model=dict(type="ImageClassifier", backbone=BACKBONE),
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
        )
    )
    choices = Choices([(1, 2, 2), (2, 2, 2)], [0.5], [32, 16], [NLP, STRIDED])
    return measure_variants(cfg, choices.variants(), bytes_per_value=2)


def test_each_is_measured_as_by_itself(candidates):
    assert len(candidates) == 8
    for candidate in candidates[1::3]:
        variant = candidate.variant
        backbone = AttnPoolResNetCIFAR(
            8,
            "basic",
            variant.strides,
            stem_channels=8,
            base_channels=8,
            pool_cfg=None if variant.pool == STRIDED else dict(type=variant.pool),
        )
        cost = measure_complexity(backbone, (3, variant.size, variant.size), 2)
        assert candidate.complexity.parameters == cost.parameters
        assert candidate.complexity.flops == cost.flops
        assert candidate.memory == cost.peak.live_bytes


def test_those_that_fit_and_the_nearest_that_do_not(candidates):
    limit = sorted(c.memory for c in candidates)[3]
    fit = fitting(candidates, limit)
    assert fit and all(c.memory <= limit for c in fit)
    flops = [c.complexity.flops for c in fit]
    assert flops == sorted(flops, reverse=True)
    missed = nearest_misses(candidates, limit, count=99)
    assert {c.variant for c in [*fit, *missed]} == {c.variant for c in candidates}
    assert nearest_misses(candidates, limit)[0].memory == min(c.memory for c in missed)
    first = first_of_each_pool(fit, 1)
    for pool in (NLP, STRIDED):
        ((best,), others) = (
            [c for c in some if c.variant.pool == pool] for some in (first, fit)
        )
        assert best.complexity.flops == max(c.complexity.flops for c in others)


def test_those_nearest_to_a_cost(candidates):
    for cost, value in (
        ("memory", lambda c: c.memory),
        ("flops", lambda c: c.complexity.flops),
    ):
        target = value(candidates[3]) + 1
        found = nearest(candidates, target, cost)
        assert value(found[0]) == value(candidates[3])
        assert {c.variant for c in found} == {c.variant for c in candidates}
        away = [abs(value(c) - target) for c in found]
        assert away == sorted(away)
        assert any(value(c) > target for c in found)


def test_what_cannot_be_built_says_why():
    cfg = Config(
        dict(
            default_scope="mmpretrain",
            model=dict(type="ImageClassifier", backbone=BACKBONE),
            test_dataloader=dict(dataset=dict(pipeline=[dict(type="Resize", scale=8)])),
        )
    )
    choices = Choices(strides=[(1, 2), (1, 2, 2)])
    wrong, right = measure_variants(cfg, choices.variants())
    assert "strides" in wrong.problem and wrong.complexity is None
    assert not right.problem and fitting([wrong, right], 10**9) == [right]
    assert nearest([wrong, right], 0) == [right]
