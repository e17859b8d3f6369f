"""A network without values."""

import pytest
import torch
from torch import nn

from attnpool_mm.utils.errors import ConfigError
from attnpool_mm.utils.shapes import on_shapes, shapes_only


def test_a_copy_without_values():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
    with torch.no_grad(), shapes_only(model) as copy:
        assert copy(torch.empty(64, 3, 10_000, 10_000)).shape == (64, 8, 10_000, 10_000)
        assert not copy.training
    assert model.training
    assert model(torch.ones(2, 3, 4, 4)).isfinite().all()


class TestOnShapes:
    @pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.GroupNorm(2, 4)])
    def test_the_shapes_are_those_of_a_run(self, norm):
        model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), norm, nn.ReLU6(), nn.Hardtanh())
        expected = model(torch.rand(2, 3, 9, 8))
        before = {k: v.clone() for k, v in model.state_dict().items()}
        found = on_shapes(model, lambda copy: copy(torch.empty(2, 3, 9, 8)))
        assert found.shape == expected.shape and found.is_meta
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name])

    def test_a_norm_of_another_width_fails(self):
        model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12))
        with pytest.raises(RuntimeError):
            on_shapes(model, lambda copy: copy(torch.empty(2, 3, 2, 4)))

    def test_an_activation_in_place_gives_what_it_got(self):
        for in_place in (True, False):
            x, y = on_shapes(
                nn.ReLU6(in_place), lambda copy: (x := torch.empty(1, 4, 2, 2), copy(x))
            )
            assert (x is y) == in_place

    def test_a_tensor_that_is_no_buffer(self):
        model = nn.Conv2d(3, 4, 1)
        model.scale = torch.ones(1, 4, 1, 1)
        found = on_shapes(
            model, lambda copy: (copy(torch.empty(1, 3, 2, 2)) * copy.scale).shape
        )
        assert found == (1, 4, 2, 2)
        assert model.scale.device.type == "cpu"

    def test_what_fails_on_the_meta_device_runs_on_fake_tensors(self):
        seen = []

        def work(copy):
            seen.append(torch.empty(1).device.type)
            if seen[-1] == "meta":
                raise ConfigError("only there")
            return copy(torch.empty(1, 3, 2, 2)).shape

        assert on_shapes(nn.Conv2d(3, 4, 1), work) == (1, 4, 2, 2)
        assert seen == ["meta", "cpu"]
