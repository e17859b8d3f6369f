"""SPEM against the plain formula and the authors' block, alone and as a plugin."""

import copy
import io
import warnings

import oracles
import pytest
import torch
from mmcv.cnn import build_plugin_layer
from mmdet.models.backbones import ResNet
from mmengine.registry import DefaultScope
from reference import Case, assert_layer_agrees
from torch import nn

from attnpool_mm.layers import SPEM, spem_layers, spem_penalty
from attnpool_mm.layers import spem as spem_module
from attnpool_mm.utils.errors import ConfigError

PLUGIN = dict(
    cfg=dict(type="attnpool_mm.SPEM"), stages=(True,) * 4, position="after_conv3"
)
RESNET = dict(base_channels=8, norm_eval=False)


def randomized(layer):
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def parameters_of(layer):
    return layer.w1, layer.b1, layer.w2, layer.b2, layer.p


def assert_equals_the_formula(layer, x, **tolerance):
    """Output, and the gradient of the input and of every parameter."""
    x = x.detach().requires_grad_()
    leaves = [x, *parameters_of(layer)]
    y, expected = layer(x), oracles.spem(*leaves)
    torch.testing.assert_close(y, expected, **tolerance)
    seed = torch.randn_like(y)
    for actual, wanted in zip(
        torch.autograd.grad(y, leaves, seed),
        torch.autograd.grad(expected, leaves, seed),
        strict=True,
    ):
        torch.testing.assert_close(actual, wanted, **tolerance)


class Bottleneck(nn.Module):
    """The authors' block, with their names."""

    def __init__(self, channels=32, width=8):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.bn3 = nn.BatchNorm2d(channels)
        self.spem = SPEM(channels)

    def forward(self, x):
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        return (x + self.spem(self.bn3(self.conv3(out)))).relu()


def test_agrees_with_the_authors():
    case = Case("spem_bottleneck")
    block = Bottleneck()
    own = dict(block.named_parameters())
    state = {k.removeprefix("block."): v for k, v in case.state.items()}
    state = {k if k in own or "bn" in k else f"spem.{k}": v for k, v in state.items()}
    block.load_state_dict(state)
    assert_layer_agrees(block, case)
    penalty = case["eval1"].squeeze()
    torch.testing.assert_close(block.spem.penalty(), penalty, atol=1e-6, rtol=0)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 6), (1, 1)])
def test_equals_the_formula(size, channels, batch):
    layer = randomized(SPEM(channels)).double()
    x = torch.randn(batch, channels, *size, dtype=torch.float64)
    assert_equals_the_formula(layer, x)


def test_ties_share_the_gradient():
    layer = randomized(SPEM(4)).double()
    x = torch.randint(0, 3, (2, 4, 6, 6)).double()  # many maxima, many minima
    assert_equals_the_formula(layer, x)
    assert_equals_the_formula(layer, torch.full((2, 4, 3, 5), 0.7).double())
    mirrored = x.flip(3).requires_grad_()
    x.requires_grad_()
    (layer(x).sum() + layer(mirrored).sum()).backward()
    torch.testing.assert_close(mirrored.grad, x.grad.flip(3))


def test_fresh_layer_scales_every_channel_alike():
    x = torch.randn(2, 6, 4, 4)
    gate = torch.sigmoid(torch.tensor(-2.0)) * torch.sigmoid(torch.tensor(-1.0))
    torch.testing.assert_close(SPEM(6)(x), gate * x)


def test_lambda_one_is_the_maximum_and_zero_the_minimum():
    layer = randomized(SPEM(3))
    x = torch.randn(2, 3, 5, 5)
    for p, pool in (((2.0, 0.0), torch.amax), ((0.0, -0.3), torch.amin)):
        layer.p.data = torch.tensor(p)
        mix = layer.w2 * pool(x, (2, 3), keepdim=True) + layer.b2
        both = (v(x, (2, 3), keepdim=True) for v in (torch.amax, torch.amin))
        gate = sum(layer.w2 * v + layer.b2 for v in both).sigmoid()
        expected = x * gate * (layer.w1 * mix + layer.b1).sigmoid()
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("p", [
    (0.5, 0.5), (-3e-5, 4e-5), (1e-23, 2e-23), (-2e-30, 1e-30), (1e-36, 5e-37),
    (3e20, 4e20), (1e-25, 0.0), (0.0, 1.0), (1e-30, 1e-3),
], ids=str)  # fmt: skip
def test_lambda_is_exact_however_short_p_is(p):
    layer = SPEM(2)
    layer.p.data = torch.tensor(p)
    exact = layer.p.detach().double().requires_grad_()
    expected = exact[0] ** 2 / (exact[0] ** 2 + exact[1] ** 2)
    torch.testing.assert_close(layer.lam.double(), expected, rtol=1e-6, atol=1e-38)
    layer.lam.backward()
    expected.backward()
    wanted = exact.grad
    atol = 1e-6 * wanted.abs().max().item()  # one part may vanish next to the other
    torch.testing.assert_close(layer.p.grad.double(), wanted, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("p", [(0.0, 0.0), (1e-42, 0.0), (1e-45, -3e-44)], ids=str)
def test_lambda_of_no_p_is_a_half(p):
    layer = randomized(SPEM(2))
    layer.p.data = torch.tensor(p)
    assert layer.lam.item() == 0.5
    layer(torch.randn(2, 2, 3, 3)).sum().backward()
    assert all(v.grad.isfinite().all() for v in parameters_of(layer))
    torch.optim.SGD([layer.p], lr=1.0).step()
    assert layer.lam.isfinite()


@pytest.mark.parametrize("where", ["x", "p", "w2"])
def test_nan_stays_nan(where):
    layer, x = randomized(SPEM(2)), torch.randn(2, 2, 3, 3)
    if where == "x":
        x[1, 0, 2, 1] = torch.nan
        y = layer(x)
        assert y[1, 0].isnan().all()
        assert y[0].isfinite().all() and y[1, 1].isfinite().all()
    else:
        getattr(layer, where).data.fill_(torch.nan)
        assert layer(x).isnan().all()


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_memory_format_stays(memory):
    layer = randomized(SPEM(4))
    x = torch.randn(2, 4, 5, 6).to(memory_format=memory)
    y = layer(x)
    assert y.is_contiguous(memory_format=memory)
    torch.testing.assert_close(y, layer(x.contiguous()), rtol=0, atol=0)
    assert_equals_the_formula(layer, x, rtol=1e-4, atol=1e-5)
    assert layer(x.transpose(2, 3)).shape == (2, 4, 6, 5)  # a view


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision(dtype, autocast):
    layer = randomized(SPEM(4))
    x = torch.randn(2, 4, 5, 6)
    if not autocast:
        layer.to(dtype)
    layer.p.data.mul_(1e-3)  # its squares vanish in float16
    with torch.autocast("cpu", dtype, enabled=autocast):
        y = layer(x.to(dtype))
    assert y.dtype == dtype
    leaves = [v.detach().double() for v in parameters_of(layer)]
    expected = oracles.spem(x.to(dtype).double(), *leaves)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(y.double(), expected, rtol=2 * eps, atol=eps / 100)
    y.sum().backward()
    assert all(v.grad.isfinite().all() for v in parameters_of(layer))


def test_float16_statistics_do_not_overflow():
    layer = SPEM(1)
    layer.w2.data.fill_(-4.0)
    x = torch.full((1, 1, 2, 2), 3e4, dtype=torch.float16)  # w2·max > 65504
    with torch.autocast("cpu", torch.float16):
        assert layer(x).isfinite().all()


def test_compiled_equals_eager():
    layer = randomized(SPEM(4))
    compiled = torch.compile(copy.deepcopy(layer), backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 4, 5, 6)
    for y in (layer(x), compiled(x)):
        y.square().sum().backward()
    torch.testing.assert_close(compiled(x), layer(x))
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(
            compiled._orig_mod.get_parameter(name).grad, parameter.grad
        )


def test_derivatives_of_every_kind():
    layer = randomized(SPEM(2)).double()
    x = torch.randn(3, 2, 3, 2, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *parameters):
        return torch.func.functional_call(
            layer, dict(zip(names, parameters, strict=True)), (x,)
        )

    inputs = [v.detach().clone().requires_grad_() for v in (x, *layer.parameters())]
    torch.autograd.gradcheck(
        run, inputs, check_forward_ad=True, check_batched_grad=True
    )
    torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.parametrize("transform", [
    lambda f, x: torch.func.vmap(f, 1, 1)(x[:, None]),
    lambda f, x: torch.func.vmap(torch.func.grad(lambda x: f(x[None]).sin().sum()))(x),
    lambda f, x: torch.func.hessian(lambda x: f(x).sin().sum())(x),
], ids=["vmap", "grad per image", "hessian"])  # fmt: skip
def test_transforms(transform):
    layer = randomized(SPEM(2)).double()
    x = torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    expected = transform(lambda x: oracles.spem(x, *parameters_of(layer)), x)
    torch.testing.assert_close(transform(layer, x), expected)


def test_an_empty_batch():
    layer = randomized(SPEM(4))
    y = layer(torch.rand(0, 4, 5, 6))
    y.sum().backward()  # DDP waits for every gradient
    assert y.shape == (0, 4, 5, 6)
    assert all((v.grad == 0).all() for v in parameters_of(layer))


def test_copies_traces_and_exports():
    layer, x = randomized(SPEM(4)), torch.randn(2, 4, 5, 6)
    expected = layer(x)
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(layer, x), file)
    file.seek(0)
    exported = torch.export.export(layer, (x,), strict=False)
    for other in (torch.jit.load(file), exported.module(), copy.deepcopy(layer)):
        torch.testing.assert_close(other(x), expected)


def test_penalty():
    shared = randomized(SPEM(2, alpha=0.3))
    other = randomized(SPEM(4, alpha=0))
    model = nn.Sequential(SPEM(2), nn.ReLU(), shared, shared, nn.Sequential(other))
    torch.testing.assert_close(shared.penalty(), (shared.p**2).sum())
    expected = 0.1 * 0.5 + 0.3 * (shared.p**2).sum()
    torch.testing.assert_close(spem_penalty(model), expected)
    spem_penalty(model).backward()
    torch.testing.assert_close(shared.p.grad, 2 * 0.3 * shared.p)
    assert (other.p.grad == 0).all()
    assert [name for name, _ in spem_layers(model)] == ["0", "2", "4.0"]
    assert spem_penalty(nn.ReLU()).item() == 0


@pytest.mark.parametrize("arguments, message", [
    (dict(in_channels=0), "in_channels=0"),
    (dict(in_channels=8.0), "in_channels=8.0"),
    (dict(in_channels=8, alpha=-0.1), "alpha=-0.1"),
    (dict(in_channels=8, alpha=float("nan")), "alpha=nan"),
    (dict(in_channels=8, alpha=float("inf")), "alpha=inf"),
    (dict(in_channels=8, alpha="0.1"), "alpha='0.1'"),
    (dict(in_channels=8, alpha=True), "alpha=True"),
], ids=str)  # fmt: skip
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        SPEM(**arguments)


def test_constructor_is_silent(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SPEM(8)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("scope", ["mmdet", "mmpretrain", None])
@pytest.mark.parametrize("channels", [16, 256])
def test_plugin_layer(channels, scope):
    cfg = dict(type="attnpool_mm.SPEM", alpha=0.2)
    with DefaultScope.overwrite_default_scope(scope):
        name, layer = build_plugin_layer(cfg, in_channels=channels, postfix="_a")
    assert name == "spem_a" and isinstance(layer, SPEM)
    assert (layer.in_channels, layer.alpha) == (channels, 0.2)
    assert layer.w1.shape == (1, channels, 1, 1)


class TestPluginOfResNet:
    @pytest.fixture
    def backbone(self):
        backbone = ResNet(50, plugins=[copy.deepcopy(PLUGIN)], **RESNET)
        for _, layer in spem_layers(backbone):
            randomized(layer)
        return backbone

    def test_every_residual_branch_has_it(self, backbone):
        plain = ResNet(50, **RESNET)
        missing, unexpected = plain.load_state_dict(backbone.state_dict(), strict=False)
        assert missing == [] and len(unexpected) == 16 * 5
        layers = dict(spem_layers(backbone))
        assert len(layers) == 16
        for name, layer in layers.items():
            norm = plain.get_submodule(name.replace("spem", "bn3"))
            norm.register_forward_hook(
                lambda _, __, out, layer=layer: oracles.spem(out, *parameters_of(layer))
            )
        x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
        for training in (True, False):
            for net in (backbone, plain):
                net.double().train(training)
            for actual, expected in zip(backbone(x), plain(x), strict=True):
                torch.testing.assert_close(actual, expected)

    def test_state_dict_makes_the_round_trip(self, backbone):
        other = ResNet(50, plugins=[copy.deepcopy(PLUGIN)], **RESNET)
        other.load_state_dict(backbone.state_dict())
        x = torch.randn(2, 3, 64, 64)
        for actual, expected in zip(other(x), backbone(x), strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=0)
        names = set(backbone.layer1[0].spem.state_dict())
        assert names == {"w1", "b1", "w2", "b2", "p"}

    def test_a_training_step_reaches_every_parameter(self, backbone):
        sum(
            out.square().mean() for out in backbone(torch.randn(2, 3, 64, 64))
        ).backward()
        unused = [name for name, p in backbone.named_parameters() if p.grad is None]
        assert unused == []

    def test_frozen_stages_freeze_it(self):
        backbone = ResNet(
            50, plugins=[copy.deepcopy(PLUGIN)], frozen_stages=1, **RESNET
        )
        assert not backbone.layer1[0].spem.p.requires_grad
        assert backbone.layer2[0].spem.p.requires_grad

    def test_its_basic_block_takes_no_plugins(self):
        """What the docstring says."""
        with pytest.raises(AssertionError, match="Not implemented"):
            ResNet(18, plugins=[copy.deepcopy(PLUGIN)], **RESNET)


class TestLargeMaps:
    """Of which the backward pass goes over a few images at a time."""

    @pytest.fixture(autouse=True)
    def _small_is_large(self, monkeypatch):
        monkeypatch.setattr(spem_module, "VALUES_AT_A_TIME", 200)

    @pytest.fixture
    def layer(self):
        layer = SPEM(4).double()
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter)
        return layer

    @pytest.fixture
    def x(self):
        x = torch.randn(5, 4, 7, 6, dtype=torch.float64)
        x[0, 0, 0, :2] = 9  # two pixels that share the largest value
        return x.requires_grad_()

    @staticmethod
    def plain(layer, x):
        return oracles.spem(x, layer.w1, layer.b1, layer.w2, layer.b2, layer.p)

    def test_gradients(self, layer, x):
        leaves, seed = [x, *layer.parameters()], torch.randn_like(x)
        y = layer(x)
        assert type(y.grad_fn).__name__ == "_ReweightBackward"
        expected = self.plain(layer, x)
        torch.testing.assert_close(y, expected)
        for actual, wanted in zip(
            torch.autograd.grad(y, leaves, seed),
            torch.autograd.grad(expected, leaves, seed),
            strict=True,
        ):
            torch.testing.assert_close(actual, wanted)

    def test_frozen_parameters(self, layer, x):
        layer.requires_grad_(False)
        seed = torch.randn_like(x)
        torch.testing.assert_close(
            torch.autograd.grad(layer(x), x, seed),
            torch.autograd.grad(self.plain(layer, x), x, seed),
        )

    def test_transforms(self, layer, x):
        leaves = [x[1:].detach().requires_grad_(), *layer.parameters()]

        def call(x, w1, b1, w2, b2, p):
            values = dict(w1=w1, b1=b1, w2=w2, b2=b2, p=p)
            return torch.func.functional_call(layer, values, (x,))

        assert torch.autograd.gradgradcheck(call, leaves)
        seeds = torch.randn(3, *x.shape, dtype=x.dtype)
        (batched,) = torch.autograd.grad(layer(x), x, seeds, is_grads_batched=True)
        single = [torch.autograd.grad(layer(x), x, seed)[0] for seed in seeds]
        torch.testing.assert_close(batched, torch.stack(single))
        tangent = torch.randn_like(x)
        _, forward = torch.func.jvp(layer, (x.detach(),), (tangent,))
        _, expected = torch.func.jvp(
            lambda x: self.plain(layer, x), (x.detach(),), (tangent,)
        )
        torch.testing.assert_close(forward, expected)
        many = torch.randn(2, *x.shape, dtype=x.dtype)
        torch.testing.assert_close(
            torch.vmap(layer)(many), torch.stack([layer(one) for one in many])
        )
