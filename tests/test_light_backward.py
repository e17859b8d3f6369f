import pytest
import torch

from attnpool_mm.light_backward import (
    images_at_a_time,
    light_backward_applies,
    with_light_backward,
)


def plain(x, y):
    return x * y.sin(), y.cos()


def light(grad, needed, x, y, cosine, product=None):
    calls.append((needed, product is not None))
    return grad * y.sin(), grad * x * cosine if needed[1] else None


calls = []


@pytest.fixture(autouse=True)
def _no_calls():
    calls.clear()


def run(x, y, **kwargs):
    return with_light_backward(plain, plain, light, x, y, **kwargs)


def inputs():
    return [torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2)]


@pytest.mark.parametrize("keep_output", [True, False])
def test_the_light_backward_pass_is_taken(keep_output):
    x, y = inputs()
    output = run(x, y, keep_output=keep_output)
    torch.testing.assert_close(output, x * y.sin())
    grads = torch.autograd.grad(output.sum(), (x, y))
    torch.testing.assert_close(grads, (y.sin(), x * y.cos()))
    assert calls == [((True, True), keep_output)]
    assert torch.autograd.grad(run(x, y.detach()).sum(), x)[0].equal(y.sin())
    assert calls[1] == ((True, False), False)


@pytest.mark.parametrize("keep_output", [True, False])
def test_all_else_comes_from_the_plain_function(keep_output):
    def function(x, y):
        return run(x, y, keep_output=keep_output)

    torch.autograd.gradcheck(function, inputs(), check_forward_ad=True)
    calls.clear()
    torch.autograd.gradgradcheck(function, inputs())
    x, y = inputs()
    torch.testing.assert_close(torch.vmap(function)(x, y), x * y.sin())
    assert calls == []


def test_where_it_applies():
    x, y = inputs()
    assert light_backward_applies(x, y.detach())
    assert not light_backward_applies(x.detach(), y.detach())
    assert not light_backward_applies(x, torch.empty(2, device="meta"))
    with torch.no_grad():
        assert not light_backward_applies(x)


def test_images_at_a_time():
    x = torch.rand(5, 2, 3)
    for values, sizes in ((1, [1] * 5), (12, [2, 2, 1]), (17, [2, 2, 1]), (99, [5])):
        parts = images_at_a_time(x, values)
        assert [len(x[part]) for part in parts] == sizes
        torch.testing.assert_close(torch.cat([x[part] for part in parts]), x)
    assert len(images_at_a_time(x[:0], 10)) == 1
