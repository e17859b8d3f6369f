import sys
import warnings

import pytest
import torch
from mmengine.model import initialize
from oracles import assert_equals_formula, randomized
from torch import nn

from attnpool_mm.pooling import DeformableSelfAttentivePool2d, SelfAttentivePool2d
from attnpool_mm.pooling.deformable import offset_by_pixel, sample_back
from attnpool_mm.utils.errors import ConfigError


def make(channels=4, **kwargs):
    return randomized(DeformableSelfAttentivePool2d(channels, **kwargs).double())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_equals_the_formula(small_maps_allowed, patch_size, normalize, training):
    pool = make(patch_size=patch_size, normalize=normalize).train(training)
    for size in ((8, 4), (5, 7), (3, 6), (1, 1)):
        x = torch.randn(2, 4, *size, dtype=torch.float64)
        assert_equals_formula(pool, x)


def test_offsets_of_the_tests_leave_the_map_and_cross_patches():
    offset = make(patch_size=2).offset(torch.randn(2, 4, 8, 8, dtype=torch.float64))
    assert offset.abs().median() > 1
    assert (offset.abs() > 8).any()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_without_offsets_it_is_the_plain_pool(patch_size, normalize):
    arguments = dict(stride=3, patch_size=patch_size, normalize=normalize)
    pool = make(**arguments)
    for parameter in (*pool.offset.parameters(), pool.mask.weight):
        nn.init.zeros_(parameter)
    plain = SelfAttentivePool2d(4, **arguments).double()
    plain.load_state_dict(pool.state_dict(), strict=False)
    with torch.no_grad():  # one mask a pixel of the patch, the same in all patches
        mask = pool.mask.bias.sigmoid().view(patch_size, patch_size)
        plain.embed.conv.weight *= mask
    for size in ((12, 12), (9, 7), (13, 6)):
        x = torch.randn(2, 4, *size, dtype=torch.float64)
        torch.testing.assert_close(pool(x), plain(x))


def test_starts_without_offsets_at_half_mask():
    pool = DeformableSelfAttentivePool2d(4, patch_size=2)
    x = torch.randn(2, 4, 6, 6)
    for layer, channels in ((pool.offset, 8), (pool.mask, 4)):
        assert torch.equal(layer(x), torch.zeros(2, channels, 3, 3))
    # What a backbone's init_cfg does must not undo it.
    initialize(pool, dict(type="Kaiming", layer="Conv2d"))
    assert not pool.offset.weight.any() and not pool.mask.weight.any()


@pytest.mark.parametrize("patch_size", [1, 2])
@pytest.mark.parametrize("normalize", [True, False])
def test_offsets_and_masks_learn_from_zero(patch_size, normalize):
    pool = DeformableSelfAttentivePool2d(
        4, stride=2, patch_size=patch_size, normalize=normalize
    )
    y = pool(torch.randn(2, 4, 8, 8))
    (y * torch.randn_like(y)).sum().backward()
    assert pool.offset.weight.grad.any()
    # Where patches tile the windows, w is constant in each until offsets move it.
    cancels = normalize and patch_size == 2
    assert (pool.mask.weight.grad.abs().max() < 1e-5) == cancels


def test_normalized_patches_of_the_strides_size_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DeformableSelfAttentivePool2d(4, stride=2, patch_size=2)


def test_sampling_back_is_against_the_offset():
    x = torch.randn(2, 3, 5, 4)
    offset = torch.zeros(2, 2, 5, 4)
    offset[0, 0] = 1.0  # the first image was read one row below,
    offset[1, 1] = -2.0  # the second two columns to the left
    sampled = sample_back(x, offset)
    torch.testing.assert_close(sampled[0], x[0, :, [0, 0, 1, 2, 3]])
    torch.testing.assert_close(sampled[1], x[1, :, :, [2, 3, 3, 3]])


def test_offsets_by_pixel():
    # Patches of 2×2, one row of two of them, on a map of 3×5.
    offset = torch.arange(16.0).view(8, 2).view(1, 8, 1, 2)
    pixels = offset_by_pixel(offset, 2, (3, 5))
    vertical, horizontal = pixels[0]
    assert vertical.tolist() == [[0, 4, 1, 5, 0], [8, 12, 9, 13, 0], [0] * 5]
    assert horizontal.tolist() == [[2, 6, 3, 7, 0], [10, 14, 11, 15, 0], [0] * 5]


def test_without_mmcvs_operators_the_error_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "mmcv.ops", None)
    with pytest.raises(ConfigError, match="MMCV"):
        DeformableSelfAttentivePool2d(4)


def test_bad_arguments():
    with pytest.raises(ConfigError, match="patch_size=0"):
        DeformableSelfAttentivePool2d(4, patch_size=0)
