import copy
import io

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Case, assert_layer_agrees
from torch import nn

from attnpool_mm.layers import DynamicConv2d
from attnpool_mm.utils.errors import ConfigError

# of PyTorch, about an even kernel
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

REFERENCES = {
    "dynamic_conv": (8, 12, dict(stride=2, bias=False)),
    "dynamic_conv_dw_bias": (8, 8, dict(groups=8)),
}
MEMORY_FORMATS = (torch.contiguous_format, torch.channels_last)


def make(in_channels, out_channels, kernel_size, temperature=2.0, **kwargs):
    """A layer in float64 with every parameter away from its initial value."""
    conv = DynamicConv2d(
        in_channels, out_channels, kernel_size, temperature=temperature, **kwargs
    ).double()
    for parameter in conv.parameters():
        nn.init.normal_(parameter, std=0.5)
    return conv


def images(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def mixed_by_loops(conv, x):
    """One image at a time: mix the kernels, then an ordinary convolution."""
    attention = conv.attention
    outs = []
    for image in x:
        mean = image.flatten(1).sum(1) / image[0].numel()
        hidden = (attention.fc1.weight[:, :, 0, 0] @ mean).clamp(min=0)
        logit = attention.fc2.weight[:, :, 0, 0] @ hidden + attention.fc2.bias
        score = torch.exp(logit / conv.temperature)
        score = score / score.sum()
        weight = sum(s * w for s, w in zip(score, conv.weight, strict=True))
        bias = None
        if conv.bias is not None:
            bias = sum(s * b for s, b in zip(score, conv.bias, strict=True))
        out = F.conv2d(
            image[None],
            weight,
            bias,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
        )
        outs.append(out)
    return torch.cat(outs)


def assert_same(conv, x, actual, expected):
    """Equal values, and equal gradients of the input and of every parameter."""
    torch.testing.assert_close(actual, expected, atol=1e-10, rtol=1e-8)
    seed = torch.randn_like(expected)
    leaves = [x, *conv.parameters()]
    for ours, wanted in zip(
        torch.autograd.grad(actual, leaves, seed),
        torch.autograd.grad(expected, leaves, seed),
        strict=True,
    ):
        torch.testing.assert_close(ours, wanted, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("name", REFERENCES)
def test_agrees_with_the_authors(name):
    case = Case(name)
    in_channels, out_channels, kwargs = REFERENCES[name]
    conv = DynamicConv2d(in_channels, out_channels, 3, padding=1, **kwargs)
    conv.load_state_dict(case.state)
    assert_layer_agrees(conv, case)


@pytest.mark.parametrize("kwargs", [
    dict(bias=False),
    dict(stride=(1, 3), padding=(0, 2)),
    dict(dilation=2, padding=(2, 1)),
    dict(padding="same", dilation=(2, 1), groups=2),
    dict(padding="valid", num_kernels=7),
    dict(groups=6, padding=1, stride=2),
    dict(num_kernels=1),
    dict(temperature=0.1),
], ids=str)  # fmt: skip
def test_equals_the_loop_over_images(kwargs):
    conv = make(6, 12, (3, 2), **kwargs)
    for batch in (1, 3):
        x = images(batch, 6, 7, 9)
        assert_same(conv, x, conv(x), mixed_by_loops(conv, x))


@pytest.mark.parametrize("kernel, size, kwargs", [
    # all kernels, up to their bound of 256 values for all kernels
    (3, (1, 2), dict()),
    (3, (8, 8), dict()),
    (3, (16, 16), dict(bias=False, stride=2)),
    (3, (16, 16), dict(padding="same", num_kernels=1)),
    # one grouped convolution
    (3, (9, 8), dict(stride=(1, 2), num_kernels=8)),
    (3, (9, 8), dict()),
    (3, (8, 8), dict(groups=2)),
    # channels last: image by image, from 400 pixels on
    (3, (20, 20), dict()),
    (3, (21, 20), dict(groups=6, bias=False)),
    # a product of matrices; not with padding or groups
    (1, (1, 2), dict()),
    (1, (21, 20), dict(bias=False, stride=(1, 2))),
    (1, (8, 8), dict(padding=1)),
    (1, (8, 8), dict(groups=2)),
], ids=str)  # fmt: skip
def test_every_size_equals_the_loop(kernel, size, kwargs):
    """Each way to compute it on a CPU, on both sides of its bounds."""
    conv = make(6, 12, kernel, **dict(padding=kernel // 2) | kwargs)
    for memory in MEMORY_FORMATS:
        x = images(3, 6, *size).detach().to(memory_format=memory).requires_grad_()
        y = conv(x)
        assert_same(conv, x, y, mixed_by_loops(conv, x))
        assert y.is_contiguous(memory_format=memory)


@pytest.mark.parametrize("kernel, size", [(1, 9), (3, 7), (3, 12), (3, 20)])
def test_autocast_of_every_size(kernel, size):
    conv = DynamicConv2d(8, 16, kernel, padding=kernel // 2, temperature=1)
    for memory in MEMORY_FORMATS:
        x = torch.randn(3, 8, size, size).to(memory_format=memory).requires_grad_()
        expected = conv(x)
        with torch.autocast("cpu", torch.bfloat16):
            y = conv(x)
        assert y.dtype == torch.bfloat16 and y.is_contiguous(memory_format=memory)
        error = (y.float() - expected).abs().max() / expected.abs().max()
        assert error < 0.03
        conv.zero_grad()
        y.float().square().mean().backward()
        assert x.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in conv.parameters())


@pytest.mark.parametrize("kernel, size, groups", [
    (1, 14, 1), (3, 4, 1), (3, 14, 1), (3, 28, 1), (3, 14, 32),
])  # fmt: skip
def test_what_is_kept_for_the_backward_pass(kernel, size, groups):
    """At most the kernels of all images, or where these are many, the maps of all."""
    conv = DynamicConv2d(32, 32, kernel, padding=kernel // 2, groups=groups)
    batch, kernels = 8, conv.weight.numel() // conv.num_kernels
    pixels = 32 * size**2
    bound = max(batch * kernels, batch * pixels, conv.weight.numel())
    for memory in MEMORY_FORMATS:
        kept = []
        x = torch.randn(batch, 32, size, size).to(memory_format=memory)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, kept=kept: kept.append(t.untyped_storage().nbytes() // 4) or t,
            lambda t: t,
        ):
            conv(x.requires_grad_())
        assert 0 < max(kept) <= bound


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_any_arguments_equal_the_loop(data):
    def draw(low, high):
        return data.draw(st.integers(low, high))

    groups = draw(1, 3)
    kernel, dilation = (draw(1, 4), draw(1, 4)), (draw(1, 2), draw(1, 2))
    padding = data.draw(
        st.one_of(
            st.sampled_from(["same", "valid"]),
            st.integers(0, 2),
            st.tuples(st.integers(0, 2), st.integers(0, 2)),
        )
    )
    conv = make(
        groups * draw(1, 3),
        groups * draw(1, 3),
        kernel,
        stride=1 if padding == "same" else (draw(1, 3), draw(1, 3)),
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=data.draw(st.booleans()),
        num_kernels=draw(1, 5),
    )
    size = [d * (k - 1) + draw(1, 6) for d, k in zip(dilation, kernel, strict=True)]
    x = images(draw(1, 4), conv.in_channels, *size)
    assert_same(conv, x, conv(x), mixed_by_loops(conv, x))


@pytest.mark.parametrize("mode, padding", [
    ("reflect", 1), ("replicate", (2, 0)), ("circular", "same"),
])  # fmt: skip
def test_padding_modes(mode, padding):
    plain = nn.Conv2d(4, 6, 3, padding=padding, padding_mode=mode).double()
    conv = make(4, 6, 3, padding=padding, padding_mode=mode)
    with torch.no_grad():
        conv.weight.copy_(plain.weight.expand_as(conv.weight))
        conv.bias.copy_(plain.bias.expand_as(conv.bias))
    x = images(2, 4, 5, 6)
    torch.testing.assert_close(conv(x), plain(x))


def test_a_high_temperature_gives_the_mean_kernel():
    conv = make(4, 6, 3, temperature=1e12)
    x = images(2, 4, 6, 6)
    expected = F.conv2d(x, conv.weight.mean(0), conv.bias.mean(0))
    torch.testing.assert_close(conv(x), expected)


def test_a_low_temperature_picks_one_kernel_for_each_image():
    conv = make(4, 6, 3, temperature=1e-6)
    with torch.no_grad():  # image 0 excites kernel 2, image 1 none but the biases
        conv.attention.fc1.weight.fill_(1)
        conv.attention.fc2.weight.zero_()[2] = 1
        conv.attention.fc2.bias.copy_(torch.tensor([0, 0.5, 0, 0]))
    x = torch.stack([torch.ones(4, 6, 6), -torch.ones(4, 6, 6)]).double()
    for image, kernel in ((0, 2), (1, 1)):
        expected = F.conv2d(x[image], conv.weight[kernel], conv.bias[kernel])
        torch.testing.assert_close(conv(x)[image], expected)


def test_maps_smaller_than_the_kernel():
    conv = make(4, 6, 5, padding=2, stride=2)
    for size in ((1, 1), (1, 5), (2, 2)):
        x = images(2, 4, *size)
        assert_same(conv, x, conv(x), mixed_by_loops(conv, x))
    with pytest.raises(RuntimeError, match="Kernel size"):
        DynamicConv2d(4, 6, 5)(torch.rand(1, 4, 2, 2))  # as nn.Conv2d does


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
def test_an_empty_batch(padding_mode):
    conv = DynamicConv2d(4, 6, 3, 2, 1, padding_mode=padding_mode)
    y = conv(torch.rand(0, 4, 8, 8))
    assert y.shape == (0, 6, 4, 4)
    y.sum().backward()  # DDP waits for every gradient
    assert all((p.grad == 0).all() for p in conv.parameters())


def test_images_of_a_batch_do_not_mix():
    conv = make(4, 6, 3)
    x = images(3, 4, 6, 6)
    torch.testing.assert_close(conv(x)[1:2], conv(x[1:2]))


@pytest.mark.parametrize("in_channels, hidden", [(1, 1), (3, 4), (8, 3)])
def test_parameters(in_channels, hidden):
    conv = DynamicConv2d(in_channels, 8, (3, 1))
    assert {name: tuple(p.shape) for name, p in conv.named_parameters()} == {
        "weight": (4, 8, in_channels, 3, 1),
        "bias": (4, 8),
        "attention.fc1.weight": (hidden, in_channels, 1, 1),
        "attention.fc2.weight": (4, hidden, 1, 1),
        "attention.fc2.bias": (4,),
    }
    assert DynamicConv2d(3, 8, 3, num_kernels=6).attention.fc1.out_channels == 6


@pytest.mark.parametrize("groups", [1, 32])
def test_initial_weights(groups):
    conv = DynamicConv2d(32, 64, 3, groups=groups)
    for reset in (lambda: None, conv.init_weights, conv.reset_parameters):
        nn.init.ones_(conv.bias)
        reset()
        for kernel in conv.weight:
            std = (2 / (64 * 9)) ** 0.5  # fan-out: out_channels · k · k
            assert kernel.std().item() == pytest.approx(std, rel=0.1)
            assert abs(kernel.mean().item()) < 0.1 * std
        assert not torch.equal(conv.weight[0], conv.weight[1])
    assert (conv.bias == 0).all() and (conv.attention.fc2.bias == 0).all()
    # From the start every kernel has its share, and the images differ in them.
    mix = conv.attention(torch.randn(8, 32, 9, 9).exp(), conv.temperature)
    assert mix.min() > 0.1
    assert mix.std(0).min() > 1e-4


def test_state_dict_round_trip():
    conv, other = make(4, 6, 3, temperature=5.0), make(4, 6, 3)
    file = io.BytesIO()
    torch.save(conv.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.temperature == 5 and other.temperature.dtype == torch.float64
    x = images(2, 4, 6, 6)
    assert torch.equal(conv(x), other(x))


def test_a_state_dict_without_temperature_leaves_it():
    conv = DynamicConv2d(4, 6, 3, temperature=7)
    network = nn.Sequential(nn.Sequential(conv), nn.ReLU())
    state = {k: v for k, v in network.state_dict().items() if "temperature" not in k}
    assert len(state) == 5
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert missing == unexpected == []
    assert len(state) == 5
    assert conv.temperature == 7 and conv.temperature.dtype == torch.float32
    del state["0.0.bias"]
    assert network.load_state_dict(state, strict=False).missing_keys == ["0.0.bias"]


@pytest.mark.parametrize("kwargs", [
    dict(num_kernels=1), dict(bias=False, stride=2),
    dict(groups=2, num_kernels=3, temperature=0.1),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("assign", [False, True])
def test_a_plain_convolution_loads_into_every_kernel(kwargs, assign):
    conv = make(4, 6, 3, **kwargs)
    plain = {k: v for k, v in kwargs.items() if k not in ("num_kernels", "temperature")}
    plain = nn.Sequential(nn.Conv2d(4, 6, 3, **plain)).double()
    state = plain.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    missing, unexpected = nn.Sequential(conv).load_state_dict(
        state, strict=False, assign=assign
    )
    assert missing == [f"0.attention.{name}" for name in conv.attention.state_dict()]
    assert unexpected == []
    x = images(3, 4, 7, 7)
    torch.testing.assert_close(conv(x), plain(x))
    # the kernels are their own, and may part
    nn.init.zeros_(conv.weight[0].data)
    assert all(kernel.std() > 0 for kernel in conv.weight[1:])
    assert state.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in state.items())


def test_a_plain_convolution_of_another_size_does_not_load():
    conv = make(4, 6, 3)
    for other in (nn.Conv2d(4, 5, 3), nn.Conv2d(4, 6, 1), nn.Conv2d(2, 6, 3)):
        with pytest.raises(RuntimeError, match="size mismatch for weight"):
            conv.load_state_dict(other.state_dict(), strict=False)


def test_a_copy_is_independent():
    conv = DynamicConv2d(4, 6, 3)
    twin = copy.deepcopy(conv)
    twin.temperature.fill_(1)
    nn.init.zeros_(twin.weight)
    assert conv.temperature == 34 and conv.weight.std() > 0


@pytest.mark.parametrize("batch, groups, network_too", [
    (2, 1, False), (1, 1, True), (2, 4, True), (1, 4, False),
])  # fmt: skip
def test_memory_formats(batch, groups, network_too):
    conv = DynamicConv2d(4, 8, 3, padding=1, groups=groups)
    x = torch.randn(batch, 4, 6, 5)
    expected = conv(x)
    assert expected.is_contiguous()
    last = torch.channels_last
    if network_too:
        shape = conv.weight.shape
        assert conv.to(memory_format=last) is conv
        assert conv.weight.shape == shape and conv.weight.requires_grad
    y = conv(x.to(memory_format=last))
    assert y.is_contiguous(memory_format=last)
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    assert [n for n, p in conv.named_parameters() if p.grad is None] == []
    conv.to(memory_format=torch.contiguous_format)  # with gradients
    torch.testing.assert_close(conv(x), expected)
    strided = torch.randn(batch, 6, 5, 8).movedim(3, 1)[:, ::2]  # neither format
    torch.testing.assert_close(conv(strided), conv(strided.contiguous()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast(dtype):
    conv = DynamicConv2d(8, 16, 3, padding=1, temperature=1)
    x = (torch.randn(2, 8, 9, 9) * 100).requires_grad_()
    expected = conv(x)
    with torch.autocast("cpu", dtype):
        y = conv(x)
        mix = conv.attention(x, conv.temperature)
    assert y.dtype == dtype and mix.dtype == torch.float32
    torch.testing.assert_close(mix.sum(1), torch.ones(2))
    error = (y.float() - expected).abs().max() / expected.abs().max()
    assert error < (0.1 if dtype == torch.bfloat16 else 0.02)
    y.float().square().mean().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in conv.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_of_half_precision(dtype):
    conv = DynamicConv2d(8, 16, 3).to(dtype)
    x = torch.randn(2, 8, 9, 9).to(dtype)
    y = conv(x)
    assert y.dtype == dtype and y.isfinite().all()


def test_compiles_to_the_same():
    torch._dynamo.reset()
    conv = make(8, 8, 3, stride=2, padding=1, groups=2)
    compiled = torch.compile(conv, fullgraph=True, backend="aot_eager")
    for batch in (2, 3, 1):
        for temperature in (30.0, 1.0):
            conv.temperature.fill_(temperature)
            x = images(batch, 8, 6, 6)
            assert_same(conv, x, compiled(x), conv(x))


def test_a_temperature_is_no_reason_to_compile_again():
    torch._dynamo.reset()
    conv = make(4, 4, 3)
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(conv, fullgraph=True, backend=counter)
    for temperature in (34.0, 31.0, 1.0):
        conv.temperature.fill_(temperature)
        compiled(images(2, 4, 6, 6))
    assert counter.frame_count == 1


def test_printing_shows_the_arguments():
    conv = DynamicConv2d(8, 8, 3, padding=1, groups=8, bias=False, temperature=2)
    assert str(conv).startswith(
        "DynamicConv2d(\n  8, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), "
        "groups=8, bias=False, num_kernels=4, temperature=2.0\n"
    )


@pytest.mark.parametrize("kwargs, message", [
    (dict(num_kernels=0), "num_kernels=0"),
    (dict(num_kernels=2.0), "num_kernels=2.0"),
    (dict(temperature=0), "temperature=0"),
    (dict(temperature=float("nan")), "temperature=nan"),
    (dict(temperature="34"), "temperature='34'"),
    (dict(temperature=float("inf")), "temperature=inf"),
    (dict(temperature=True), "temperature=True"),
])  # fmt: skip
def test_bad_arguments(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        DynamicConv2d(4, 6, 3, **kwargs)


def test_the_other_bad_arguments_are_those_of_a_plain_convolution():
    for kwargs in (dict(groups=3), dict(padding="some"), dict(padding_mode="none")):
        with pytest.raises(ValueError) as plain:
            nn.Conv2d(4, 6, 3, **kwargs)
        with pytest.raises(ValueError) as ours:
            DynamicConv2d(4, 6, 3, **kwargs)
        assert str(ours.value) == str(plain.value)
