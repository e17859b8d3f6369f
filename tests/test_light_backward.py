import pytest
import torch

from attnpool_mm.light_backward import (
    images_at_a_time,
    light_backward_applies,
    with_light_backward,
)


def plain(x, y):
    return x * y.sin(), y.cos()


def light(grad, needed, x, y, cosine):
    calls.append(needed)
    return grad * y.sin(), grad * x * cosine if needed[1] else None


calls = []


@pytest.fixture(autouse=True)
def _no_calls():
    calls.clear()


def run(x, y):
    return with_light_backward(plain, plain, light, x, y)


def inputs():
    return [torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2)]


def test_the_light_backward_pass_is_taken():
    x, y = inputs()
    output = run(x, y)
    torch.testing.assert_close(output, x * y.sin())
    grads = torch.autograd.grad(output.sum(), (x, y))
    torch.testing.assert_close(grads, (y.sin(), x * y.cos()))
    assert calls == [(True, True)]
    assert torch.autograd.grad(run(x, y.detach()).sum(), x)[0].equal(y.sin())
    assert calls[1] == (True, False)


def test_the_output_may_be_changed_in_place():
    x, y = inputs()
    run(x, y).mul_(2).sum().backward()
    torch.testing.assert_close(x.grad, 2 * y.sin())


def test_all_else_comes_from_the_plain_function():
    torch.autograd.gradcheck(run, inputs(), check_forward_ad=True)
    calls.clear()
    torch.autograd.gradgradcheck(run, inputs())
    x, y = inputs()
    torch.testing.assert_close(torch.vmap(run)(x, y), x * y.sin())
    eye = torch.eye(3, dtype=x.dtype)
    many = torch.autograd.grad(run(x, y), (x, y), eye, is_grads_batched=True)
    torch.testing.assert_close(many, (y.sin().diag(), (x * y.cos()).diag()))
    assert calls == []


def test_where_it_applies():
    x, y = inputs()
    assert light_backward_applies(x, y.detach())
    assert not light_backward_applies(x.detach(), y.detach())
    assert not light_backward_applies(x, torch.empty(2, device="meta"))
    with torch.no_grad():
        assert not light_backward_applies(x)
    seen = []

    def function(x):
        seen.append(light_backward_applies(x))
        return x + 1

    torch.jit.trace(function, x, check_trace=False)
    assert not torch.compile(lambda x: (x + 1, light_backward_applies(x)),
                             backend="eager", fullgraph=True)(x)[1]  # fmt: skip
    assert seen == [False]


def test_images_at_a_time():
    x = torch.rand(5, 2, 3)
    for values, sizes in ((1, [1] * 5), (12, [2, 2, 1]), (17, [2, 2, 1]), (99, [5])):
        parts = images_at_a_time(x, values)
        assert [len(x[part]) for part in parts] == sizes
        torch.testing.assert_close(torch.cat([x[part] for part in parts]), x)
    assert len(images_at_a_time(x[:0], 10)) == 1
