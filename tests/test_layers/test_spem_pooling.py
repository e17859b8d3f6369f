"""SPEM's ablations, which pool one value of a map, against the plain formula."""

import copy
import io

import pytest
import torch
from torch import nn

from attnpool_mm.analysis import measure_complexity
from attnpool_mm.layers import SPEM, spem_penalty
from attnpool_mm.layers import spem as spem_module
from attnpool_mm.utils.errors import ConfigError

POOLINGS = ("max", "min", "avg")


def randomized(pooling, channels=4):
    layer = SPEM(channels, pooling=pooling).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def plain(layer, x):
    """The formula, map by map; pixels that tie share the gradient."""
    maps = []
    for image in x:
        for c, values in enumerate(image):
            if layer.pooling == "avg":
                s = values.sum() / values.numel()
            else:
                end = -1 if layer.pooling == "max" else 0
                s = values[values == values.flatten().sort().values[end]].mean()
            w1, b1, w2, b2 = (
                getattr(layer, name).flatten()[c] for name in ("w1", "b1", "w2", "b2")
            )
            v = w2 * s + b2
            first = 1 / (1 + torch.exp(-2 * v))
            maps.append(values * first / (1 + torch.exp(-(w1 * v + b1))))
    return torch.stack(maps).view_as(x)


@pytest.fixture(params=POOLINGS)
def layer(request):
    return randomized(request.param)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_equals_the_formula(layer, large, ties, monkeypatch):
    if large:  # where the adaptive one has a backward pass of its own
        monkeypatch.setattr(spem_module, "VALUES_AT_A_TIME", 10)
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    if ties:
        x = torch.randint(0, 3, x.shape).double()
    leaves, seed = [x.requires_grad_(), *layer.parameters()], torch.randn_like(x)
    y, expected = layer(x), plain(layer, x)
    torch.testing.assert_close(y, expected)
    for actual, wanted in zip(
        torch.autograd.grad(y, leaves, seed),
        torch.autograd.grad(expected, leaves, seed),
        strict=True,
    ):
        torch.testing.assert_close(actual, wanted)


def test_derivatives(layer):
    x = torch.randn(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *parameters):
        values = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(layer, values, (x,))

    assert torch.autograd.gradcheck(run, [x, *layer.parameters()])
    assert torch.autograd.gradgradcheck(run, [x, *layer.parameters()])


@pytest.mark.parametrize("pooling, p", [("max", (1, 0)), ("min", (0, 1))])
def test_is_spem_of_a_map_with_one_value(pooling, p):
    """With λ at that end, and the first factor of two equal values."""
    layer, adaptive = randomized(pooling), SPEM(4).double()
    adaptive.load_state_dict(
        layer.state_dict() | {"p": torch.tensor(p, dtype=torch.float64)}
    )
    flat = torch.randn(2, 4, 1, 1, dtype=torch.float64).expand(2, 4, 3, 5)
    torch.testing.assert_close(layer(flat), adaptive(flat))


def test_starts_as_spem_does(layer):
    x = torch.randn(2, 6, 4, 4)
    fresh = SPEM(6, pooling=layer.pooling)
    torch.testing.assert_close(fresh(x), SPEM(6)(x), rtol=1e-6, atol=0)


def test_has_neither_p_nor_penalty(layer):
    assert set(layer.state_dict()) == {"w1", "b1", "w2", "b2"}
    assert layer.lam is None and layer.penalty().item() == 0
    assert spem_penalty(nn.Sequential(layer)).item() == 0
    both = nn.Sequential(layer, SPEM(4, alpha=0.3))
    assert spem_penalty(both).item() == pytest.approx(0.3 * 0.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(layer, dtype):
    layer.float()
    layer.w2.data.mul_(1e-4)
    x = (1e4 * torch.rand(2, 4, 16, 16)).to(dtype)  # whose sum float16 does not hold
    with torch.autocast("cpu", dtype):
        y = layer(x)
    assert y.dtype == dtype
    expected = plain(copy.deepcopy(layer).double(), x.double())
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(y.double(), expected, rtol=2 * eps, atol=0)


def test_copies_traces_and_compiles(layer):
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    expected = layer(x)
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(layer, x), file)
    file.seek(0)
    exported = torch.export.export(layer, (x,), strict=False)
    compiled = torch.compile(copy.deepcopy(layer), backend="aot_eager", fullgraph=True)
    for other in (torch.jit.load(file), exported.module(), compiled):
        torch.testing.assert_close(other(x), expected)


def test_cost_is_that_of_spem(layer):
    """But for the two numbers of `p`."""
    for attention in ("fused", "unfused"):
        own, adaptive = (
            measure_complexity(SPEM(4, pooling=p), (4, 8, 8), attention=attention)
            for p in (layer.pooling, "adaptive")
        )
        assert own.parameters == adaptive.parameters - 2
        assert own.flops == adaptive.flops == 0
        assert 0.9 < own.peak.live_bytes / adaptive.peak.live_bytes <= 1


def test_another_word_is_refused():
    with pytest.raises(ConfigError, match="pooling='mean'.*'avg'"):
        SPEM(4, pooling="mean")
