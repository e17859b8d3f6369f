"""A network without values."""

import torch
from torch import nn

from attnpool_mm.utils.shapes import shapes_only


def test_a_copy_without_values():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
    with torch.no_grad(), shapes_only(model) as copy:
        assert copy(torch.empty(64, 3, 10_000, 10_000)).shape == (64, 8, 10_000, 10_000)
        assert not copy.training
    assert model.training
    assert model(torch.ones(2, 3, 4, 4)).isfinite().all()
