"""Pools whose convolutions mix their kernels anew for each image."""

import pytest
import torch
from oracles import assert_equals_formula, randomized

from attnpool_mm.layers import DynamicConv2d
from attnpool_mm.pooling import MixedPool2d, build_pool

DYNAMIC = dict(type="DynamicConv2d", temperature=1.0)  # 34 hardly tells images apart


def make(name, **kwargs):
    cfg = dict(type=name, conv_cfg=DYNAMIC, **kwargs)
    return randomized(build_pool(cfg, 4, 2).double())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("restore_norm", [True, False])
@pytest.mark.parametrize("patch_size", [1, 2, 3])
def test_self_attentive(small_maps_allowed, patch_size, restore_norm, training):
    pool = make(
        "SelfAttentivePool2d",
        patch_size=patch_size,
        restore_norm=restore_norm,
        normalize=False,
    ).train(training)
    # Restoring commutes with upsampling on maps that patches tile, the first two.
    for size in ((12, 6), (6, 6), (7, 8), (9, 5), (2, 1), (1, 1)):
        assert_equals_formula(pool, torch.randn(2, 4, *size, dtype=torch.float64))


def test_one_token_of_one_image():
    pool = make("SelfAttentivePool2d", patch_size=4, normalize=False, embed_norm=False)
    for size in ((4, 4), (5, 6)):
        assert_equals_formula(pool, torch.randn(1, 4, *size, dtype=torch.float64))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name, kwargs", [
    ("AttentionPool2d", dict()),
    ("LocalImportancePool2d", dict(kernel_size=1)),
    ("LocalImportancePool2d", dict(kernel_size=2)),
    ("LocalImportancePool2d", dict(kernel_size=3, form="original")),
    ("DeformableSelfAttentivePool2d", dict(patch_size=1)),
    ("DeformableSelfAttentivePool2d", dict(patch_size=2, normalize=False)),
], ids=str)  # fmt: skip
def test_other_pools(name, kwargs, training):
    pool = make(name, **kwargs).train(training)
    for size in ((8, 6), (5, 7), (2, 2)):
        assert_equals_formula(pool, torch.randn(2, 4, *size, dtype=torch.float64))


def test_the_parts_of_a_mixture():
    parts = [
        dict(type="LocalImportancePool2d", conv_cfg=DYNAMIC),
        dict(type="SelfAttentivePool2d", conv_cfg=DYNAMIC),
    ]
    pool = randomized(MixedPool2d(4, pools=parts).double())
    assert sum(isinstance(m, DynamicConv2d) for m in pool.modules()) == 3
    assert_equals_formula(pool, torch.randn(2, 4, 5, 6, dtype=torch.float64))
