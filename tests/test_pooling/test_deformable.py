import warnings

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import initialize
from oracles import assert_equals_formula, randomized
from reference import Case, assert_layer_agrees
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from attnpool_mm.checkpoint import convert_authors_pool
from attnpool_mm.pooling import (
    DeformableSelfAttentivePool2d,
    MixedPool2d,
    SelfAttentivePool2d,
    deformable,
)
from attnpool_mm.pooling.deformable import positions, sample_bilinear
from attnpool_mm.utils.errors import ConfigError

DYNAMIC = dict(type="DynamicConv2d")
DEFORMABLE = dict(type="DeformableSelfAttentivePool2d", patch_size=2)


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


def test_dynamic_convolutions_equal_the_formula():
    pool = make(patch_size=2, normalize=False, conv_cfg=DYNAMIC)
    assert_equals_formula(pool, torch.randn(2, 4, 5, 6, dtype=torch.float64))


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
        plain.embed.conv.bias.zero_()
    for size in ((12, 12), (9, 7), (13, 6)):
        x = torch.randn(2, 4, *size, dtype=torch.float64)
        torch.testing.assert_close(pool(x), plain(x))


@pytest.mark.parametrize("conv_cfg", [None, dict(type="Conv2d"), DYNAMIC])
def test_starts_without_offsets_at_half_mask(conv_cfg):
    pool = DeformableSelfAttentivePool2d(4, patch_size=2, conv_cfg=conv_cfg)
    x = torch.randn(2, 4, 6, 6)
    for layer, channels in ((pool.offset, 8), (pool.mask, 4)):
        assert torch.equal(layer(x), torch.zeros(2, channels, 3, 3))
    assert pool.embed.conv.bias is None
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


def authors_sampler(x, position):
    """The authors' sampler, which counts what lies at or beyond the border double."""
    ends = [side - 1 for side in x.shape[2:]]
    shares = []
    for t, end in zip(position.unbind(1), ends, strict=True):
        low = t.detach().floor()
        low, high = (side.clamp(0, end) for side in (low, low + 1))
        t = t.clamp(0, end)
        shares.append([(low.long(), 1 + (low - t)), (high.long(), 1 - (high - t))])
    sampled = 0
    image = torch.arange(len(x)).view(-1, 1, 1)
    for rows, vertical in shares[0]:
        for columns, horizontal in shares[1]:
            value = x[image, :, rows, columns].movedim(-1, 1)
            sampled = sampled + (vertical * horizontal)[:, None] * value
    return sampled


@pytest.mark.parametrize("name", ["dfmnlp_p2_nowin", "dfmixp_p2_win"])
def test_agrees_with_the_authors_but_for_their_sampler(monkeypatch, name):
    pool = DeformableSelfAttentivePool2d(16, patch_size=2, normalize=False)
    if name == "dfmixp_p2_win":
        local = dict(type="LocalImportancePool2d", kernel_size=2)
        pool = MixedPool2d(12, pools=[DEFORMABLE, local])
    case = Case(name)
    pool.load_state_dict(convert_authors_pool(case.state, pool))
    monkeypatch.setattr(deformable, "sample_bilinear", authors_sampler)
    assert_layer_agrees(pool, case)


def test_sampling_equals_pytorchs():
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    # Inside, on whole pixels, between them, and beyond the border.
    position = 10 * torch.rand(2, 2, 7, 6, dtype=torch.float64) - 3
    position[0, :, 0] = position[0, :, 0].round()
    position.requires_grad_()
    size = torch.tensor(x.shape[2:])
    grid = ((2 * position.movedim(1, -1) + 1) / size - 1).flip(-1)
    expected = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    sampled = sample_bilinear(x, position)
    torch.testing.assert_close(sampled, expected)
    seed = torch.randn_like(sampled)
    (dx, dp), (dx_, dp_) = (
        torch.autograd.grad(y, (x, position), seed) for y in (sampled, expected)
    )
    torch.testing.assert_close(dx, dx_)
    # On a whole pixel either side's slope is right.
    whole = (position.detach() % 1 < 1e-9).any(1, keepdim=True)
    torch.testing.assert_close(dp.masked_fill(whole, 0), dp_.masked_fill(whole, 0))


def test_positions_that_are_no_numbers_give_such_values():
    position = positions(torch.zeros(1, 2, 3, 3))
    position[0, 0, 1, 1] = torch.nan
    nan = sample_bilinear(torch.randn(1, 2, 3, 3), position).isnan()
    assert nan[0, :, 1, 1].all() and nan.sum() == 2


def test_offsets_lie_by_pixel_of_the_patch():
    pool = DeformableSelfAttentivePool2d(1, patch_size=2)
    # Vertical offsets, row by row of a patch, then horizontal ones.
    nn.init.zeros_(pool.offset.weight)
    pool.offset.bias.data = torch.arange(8.0)
    vertical, horizontal = pool._by_pixel(pool.offset, torch.zeros(1, 1, 3, 5))[0]
    assert vertical.tolist() == [[0, 1, 0, 1], [2, 3, 2, 3]]
    assert horizontal.tolist() == [[4, 5, 4, 5], [6, 7, 6, 7]]


def test_second_derivatives():
    pool = make(channels=2, patch_size=2, normalize=False)
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):  # the other kernels have none
        assert torch.autograd.gradgradcheck(pool, x)


def test_bad_arguments():
    with pytest.raises(ConfigError, match="patch_size=0"):
        DeformableSelfAttentivePool2d(4, patch_size=0)
