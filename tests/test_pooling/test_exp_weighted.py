"""The mean that keeps no weights equals the plain formula, whatever asks for it."""

import oracles
import pytest
import torch
import torch.nn.functional as F
from torch.autograd.graph import saved_tensors_hooks

from attnpool_mm.pooling import (
    MixedPool2d,
    WeightedPool2d,
    build_pool,
    weighted_pool2d,
)
from attnpool_mm.pooling import exp_weighted as module
from attnpool_mm.pooling.weighted import exp_weighted_pool2d, upsample_nearest
from attnpool_mm.registry import MODELS

LAST = torch.channels_last


def maps(*size, dtype=torch.float64):
    pair = (torch.randn(*size, dtype=dtype) for _ in range(2))
    return [t.contiguous(memory_format=LAST).requires_grad_() for t in pair]


@pytest.fixture
def taken(monkeypatch):
    """Count the calls of the light backward pass."""
    calls = []

    def count(*args, **kwargs):
        calls.append(1)
        return backward(*args, **kwargs)

    backward = module._backward
    monkeypatch.setattr(module, "_backward", count)
    return calls


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(8, 12), (7, 5), (3, 1), (1, 1)])
@pytest.mark.parametrize("values", [1, 150, 10**6])
def test_value_and_gradient(monkeypatch, taken, size, stride, normalize, values):
    monkeypatch.setattr(module, "VALUES_AT_A_TIME", values)
    x, log_weight = maps(5, 3, *size)
    y = exp_weighted_pool2d(x, log_weight, stride, normalize)
    expected = oracles.pool_windows(x, log_weight.exp(), stride, normalize)
    torch.testing.assert_close(y, expected)
    seed = torch.randn_like(expected)
    grads = torch.autograd.grad(y, (x, log_weight), seed)
    for grad, right in zip(
        grads, torch.autograd.grad(expected, (x, log_weight), seed), strict=True
    ):
        torch.testing.assert_close(grad, right)
        assert grad.is_contiguous(memory_format=LAST)
    assert taken


@pytest.mark.parametrize("normalize", [True, False])
def test_higher_and_forward_derivatives(normalize):
    def pool(x, log_weight):
        return exp_weighted_pool2d(x, log_weight, 2, normalize)

    inputs = maps(2, 2, 5, 4)
    options = dict(check_forward_ad=True, check_batched_grad=True)
    torch.autograd.gradcheck(pool, inputs, **options)
    torch.autograd.gradgradcheck(pool, inputs, check_batched_grad=True)


def test_gradients_by_image():
    x, log_weight = maps(3, 2, 4, 6)

    def loss(x, log_weight):
        y = exp_weighted_pool2d(x[None], log_weight[None], 2)
        return y.square().sum()

    grads = torch.vmap(torch.func.grad(loss, (0, 1)))(x, log_weight)
    whole = exp_weighted_pool2d(x, log_weight, 2).square().sum()
    for grad, right in zip(
        grads, torch.autograd.grad(whole, (x, log_weight)), strict=True
    ):
        torch.testing.assert_close(grad, right)


def test_one_input_alone_needs_a_gradient():
    for normalize in (True, False):
        for i in range(2):
            inputs = maps(2, 3, 5, 4)
            inputs[i].requires_grad_(False)
            y = exp_weighted_pool2d(*inputs, 2, normalize)
            x, log_weight = inputs
            right = oracles.pool_windows(x, log_weight.exp(), 2, normalize)
            grads = (
                torch.autograd.grad(v.square().sum(), inputs[1 - i]) for v in (y, right)
            )
            torch.testing.assert_close(*grads)


@pytest.mark.parametrize("size, stride", [
    ((2, 3, 6, 6), 2), ((2, 3, 6, 6), 6), ((2, 1, 5, 5), 2)
])  # fmt: skip
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, LAST])
def test_the_output_may_be_changed_in_place(size, stride, memory_format):
    pool = build_pool(dict(type="LocalImportancePool2d"), size[1], stride).double()
    leaf = torch.randn(size, dtype=torch.float64, requires_grad=True)
    x = leaf.contiguous(memory_format=memory_format)
    grads = [
        torch.autograd.grad(y.square().sum(), leaf)
        for y in (F.relu(pool(x) - 0.1), pool(x).sub_(0.1).relu_())
    ]
    torch.testing.assert_close(*grads)


def test_what_is_kept():
    kept = []

    def pack(tensor):
        kept.append(tensor)
        return tensor

    x, log_weight = maps(2, 3, 8, 8)
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        exp_weighted_pool2d(x, log_weight, 2)
    large = {t.data_ptr() for t in kept if t.numel() == x.numel()}
    assert large == {x.data_ptr(), log_weight.data_ptr()}
    assert sum(t.numel() for t in kept) == 2 * x.numel() + 2 * x.numel() // 4


class Brightest(WeightedPool2d):
    def compute_log_weight(self, x):
        return x


class Plain(WeightedPool2d):
    def compute_weight(self, x):
        return x.square()


class Mixed(MixedPool2d):
    def compute_weight(self, x):
        return super().compute_weight(x) + x.square()


class LogOverPlain(Plain):
    def compute_log_weight(self, x):
        return 2 * x


class PlainOverLog(LogOverPlain):
    def compute_weight(self, x):
        return x.square() + 1


@pytest.mark.parametrize("training", [True, False])
def test_the_last_word_on_the_weights_counts(monkeypatch, training):
    monkeypatch.setitem(MODELS._module_dict, "PlainOfThisTest", Plain)
    plain = dict(type="PlainOfThisTest")
    local = dict(type="LocalImportancePool2d")
    x = torch.randn(2, 3, 6, 7, requires_grad=True)
    replaced = Brightest(3)
    replaced.compute_weight = lambda x: x.square() + 3
    of_mixed = [Mixed(3, pools=[local]), MixedPool2d(3, pools=[local, plain])]
    local_weight = [pool.pools[0].eval().compute_weight(x) for pool in of_mixed]
    for pool, weight in [
        (Brightest(3), x.exp()),
        (Plain(3), x.square()),
        (LogOverPlain(3), (2 * x).exp()),
        (PlainOverLog(3), x.square() + 1),
        (replaced, x.square() + 3),
        (of_mixed[0], local_weight[0] + x.square()),
        (of_mixed[1], local_weight[1] * x.square()),
    ]:
        expected = oracles.pool_windows(x, weight, 2, True)
        with torch.set_grad_enabled(training):
            torch.testing.assert_close(pool.eval()(x), expected)
        torch.testing.assert_close(pool.compute_weight(x), weight)


@pytest.mark.parametrize("change", [
    lambda x, w: (x.contiguous(), w.contiguous()),
    lambda x, w: (x.float(), w),
    lambda x, w: (x.bfloat16(), w.float()),
    lambda x, w: (x, F.avg_pool2d(w, 2)),
    lambda x, w: (x, w[:, :1]),
    lambda x, w: (x.detach(), w.detach()),
], ids=["rows", "float", "bfloat16", "coarse", "channel", "no gradient"])  # fmt: skip
def test_what_goes_another_way(taken, change):
    x, log_weight = change(*maps(2, 3, 8, 8))
    y = exp_weighted_pool2d(x, log_weight, 2)
    weight = upsample_nearest(log_weight.exp(), (8, 8)).expand(2, 3, 8, 8)
    torch.testing.assert_close(y, weighted_pool2d(x, weight, 2))
    if y.requires_grad:
        y.sum().backward()
    assert not taken


def test_a_pool_takes_it_in_training(taken):
    x = torch.randn(2, 3, 6, 7, requires_grad=True)
    Brightest(3)(x).sum().backward()
    assert len(taken) == 1
    Plain(3)(x).sum().backward()
    assert len(taken) == 1
