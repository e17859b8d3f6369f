"""Weights are held to the model that they are loaded into."""

import pytest
import torch
from torch import nn

from attnpool_mm.checkpoint import load_fitting
from attnpool_mm.layers import DynamicConv2d
from attnpool_mm.utils.errors import ConfigError


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))


ENTRIES = 8  # num_batches_tracked is not counted


def test_weights_that_fit_are_loaded():
    source, target = network(), network()
    weights = {f"module.{k}": v for k, v in source.state_dict().items()}
    del weights["module.1.num_batches_tracked"]  # as in files of PyTorch 0.4
    weights["module.head.weight"] = torch.ones(1)
    load_fitting(target, weights, "a.pth")
    torch.testing.assert_close(target.state_dict(), source.state_dict())


def test_layers_adapt_what_they_are_given():
    plain, dynamic = nn.Conv2d(4, 4, 3), DynamicConv2d(4, 4, 3)
    weights = dynamic.state_dict() | plain.state_dict()
    load_fitting(dynamic, weights, "a.pth")
    for kernel in dynamic.weight:
        torch.testing.assert_close(kernel, plain.weight)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("2.bias"), "1 are not in it, such as 2.bias"),
        (lambda w: w.update({"0.bias": torch.ones(7)}), "1 have another .* 0.bias"),
        (lambda w: w.update({"0.bias": "x"}), "1 have another .* 0.bias"),
        (
            lambda w: (w.pop("0.weight"), w.update({"2.weight": torch.ones(1)})),
            "1 are not .* 0.weight; 1 have another .* 2.weight",
        ),
    ],
)
def test_what_is_missing_or_of_another_shape(change, words, partial):
    weights = network().state_dict()
    change(weights)
    if partial:
        load_fitting(network(), weights, "a.pth", partial)
        return
    match = f"checkpoint a.pth: .* {ENTRIES} entries .*{words}.*--partial"
    with pytest.raises(ConfigError, match=match):
        load_fitting(network(), weights, "a.pth")


@pytest.mark.parametrize("partial", [False, True])
def test_weights_of_which_none_fits(partial):
    weights = {f"other.{k}": v for k, v in network().state_dict().items()}
    with pytest.raises(ConfigError, match=f"checkpoint a.pth: .*{ENTRIES} are not"):
        load_fitting(network(), weights, "a.pth", partial)
