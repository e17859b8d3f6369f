"""Parameters, FLOPs and activation memory, against hand counts and real runs."""

from collections import OrderedDict

import pytest
import torch
from mmpretrain.models.backbones.mobilenet_v2 import InvertedResidual
from mmpretrain.models.backbones.resnet import BasicBlock
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from torchvision.ops import DeformConv2d

from attnpool_mm.analysis import measure_complexity
from attnpool_mm.analysis.layers import list_layers
from attnpool_mm.layers import SPEM, DynamicConv2d
from attnpool_mm.models import AttnPoolResNet, attn_pool_backbone
from attnpool_mm.pooling import SelfAttentivePool2d, build_pool
from attnpool_mm.utils.errors import ConfigError

DEFORMABLE = dict(type="DeformableSelfAttentivePool2d", patch_size=2)
LIP = dict(type="LocalImportancePool2d")
NLP = dict(type="SelfAttentivePool2d", normalize=False)
POOLS = [
    dict(type="MaxPool2d"),
    dict(type="StridedConv2d"),
    dict(LIP, form="original"),
    dict(type="GaussianPool2d"),
    dict(NLP, patch_size=2, embed_ratio=0.5, conv_cfg=dict(type="DynamicConv2d")),
    dict(NLP, sigmoid=False, normalize=True),
    dict(type="MixedPool2d", pools=[DEFORMABLE, dict(LIP, kernel_size=2)]),
    dict(type="AttentionPool2d"),
]
ARCHS = [
    "dyresnet18-nlp_headfix2-1222",
    "prepool-nlp-4-mobilenet-gaussian_pool-2222121",
    "spem-20",
]


class Net(nn.Module):
    """Layers by name, and a forward pass made of them."""

    def __init__(self, run, **layers):
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.run(self, x)


def live(model, shape, **kwargs):
    return [
        op.live_bytes for op in measure_complexity(model, shape, **kwargs).operations
    ]


def counted_on_cpu(model, x):
    """PyTorch's counter in a real forward pass, and the output."""

    def attention_flops(query, key, value, *args, **kwargs):
        return sdpa_flop_count(query, key, value)

    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    known = {attention: attention_flops}
    model.eval()
    counter = FlopCounterMode(display=False, custom_mapping=known)
    with counter, torch.no_grad():
        output = model(x)
    return counter.get_total_flops(), output


def test_a_chain():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
    )
    cost = measure_complexity(model, (3, 16, 16))
    x, a, b = 3 * 256, 8 * 256, 16 * 64
    assert [(op.module, op.live_bytes, op.layer_bytes) for op in cost.operations] == [
        ("", x, 0), ("0", x + a, x + a), ("1", a, 0), ("2", a, 0), ("3", a + b, a + b)
    ]  # fmt: skip
    assert cost.peak is cost.largest_layer is cost.operations[-1]
    assert cost.operations[-1].shape == (1, 16, 8, 8)
    assert cost.parameters == 8 * 27 + 2 * 8 + 16 * 8 * 9 + 16
    first, last = 2 * a * 27, 2 * b * 8 * 9
    assert cost.flops_by_module == {
        "": first + last, "0": first, "1": 0, "2": 0, "3": last
    }  # fmt: skip


def test_a_residual_block():
    n = 8 * 36  # the shortcut lives beside the second convolution's input and output
    expected = [n, 2 * n, 2 * n, 2 * n, 3 * n, 3 * n - n, 2 * n, n]
    block = BasicBlock(8, 8)
    assert live(block, (8, 6, 6)) == expected
    cost = measure_complexity(block, (8, 6, 6))
    assert cost.peak.module == "conv2"
    assert cost.largest_layer.layer_bytes == 2 * n


def test_an_inverted_residual():
    n = 8 * 100
    block = InvertedResidual(8, 8, stride=1, expand_ratio=6)
    cost = measure_complexity(block, (8, 10, 10))
    assert (cost.peak.module, cost.peak.live_bytes) == ("conv.1.conv", 13 * n)
    assert cost.largest_layer.layer_bytes == 12 * n
    assert cost.flops == 2 * 100 * (8 * 48 + 9 * 48 + 48 * 8)


@pytest.mark.parametrize("patch", [1, 4])
def test_a_self_attentive_pool(patch):
    channels, height, width = 16, 24, 16
    tokens = height * width // patch**2
    pool = SelfAttentivePool2d(
        channels, stride=2, patch_size=patch, num_heads=4, normalize=False
    )
    cost = measure_complexity(pool, (channels, height, width))
    c = d = channels
    assert cost.parameters == patch**2 * c * d + 4 * d**2 + d * c + 263 * d + 3 * c
    products = patch**2 * c * d + 4 * d**2 + 2 * tokens * d + d * c
    assert cost.flops == 2 * tokens * products
    # the map beside tokens and query, key, value, or beside these and the result
    n = channels * height * width
    assert cost.peak.live_bytes == max(n + 4 * d * tokens, n + n // 4 + d * tokens)
    assert cost.peak.module == "attention" or patch == 4


def test_the_largest_image_costs_nothing():
    backbone = attn_pool_backbone(
        "resnet18-nlp_headfix2_nowin-1222", out_indices=(0, 1, 2, 3)
    )
    cost = measure_complexity(backbone, (3, 800, 1333))
    n = 128 * 200 * 333  # of layer2, before its pool; layer1's output lives on
    assert cost.peak.module == "layer2.pool.attention"
    assert cost.peak.live_bytes == 5 * n + n // 2
    assert cost.flops > 4 * 66_600**2 * 128


def test_a_dynamic_convolution():
    conv = DynamicConv2d(16, 32, 3, padding=1, num_kernels=4)
    cost = measure_complexity(conv, (16, 8, 8))
    kernel = 32 * 16 * 9
    mix = 4 * (kernel + 32)
    assert cost.flops == 2 * (16 * 5 + 5 * 4 + mix + 64 * kernel)
    assert cost.peak.live_bytes == kernel + 32 + 64 * (16 + 32)


def test_spem_has_no_products_and_works_in_place():
    cost = measure_complexity(SPEM(16), (16, 32, 32))
    n = 16 * 32 * 32
    assert cost.flops == 0
    assert n < cost.peak.live_bytes <= n + 4 * 16


@pytest.mark.parametrize("cfg", POOLS, ids=lambda cfg: cfg["type"])
def test_flops_of_every_pool_are_those_of_a_real_run(cfg):
    pool = build_pool(cfg, 16, 2)
    shape = (16, 14, 12)
    flops, output = counted_on_cpu(pool, torch.rand(1, *shape))
    cost = measure_complexity(pool, shape)
    assert cost.flops == flops
    assert cost.peak.live_bytes >= cost.largest_layer.layer_bytes > 0
    assert cost.peak.live_bytes >= (16 * 14 * 12) + output.numel()
    assert cost.operations[-1].shape == output.shape


@pytest.mark.parametrize("arch", ARCHS)
def test_flops_of_backbones_are_those_of_a_real_run(arch):
    backbone = attn_pool_backbone(arch)
    names = {name for name, _ in backbone.named_modules()}
    flops, outputs = counted_on_cpu(backbone, torch.rand(1, 3, 64, 75))
    cost = measure_complexity(backbone, (3, 64, 75))
    assert cost.flops == cost.flops_by_module[""] == flops
    assert cost.operations[-1].shape == outputs[-1].shape
    assert cost.peak.live_bytes >= cost.largest_layer.layer_bytes > 0
    assert {op.module for op in cost.operations} <= names


def test_resnet50_at_224():
    cost = measure_complexity(attn_pool_backbone("resnet50-skip-1222"), (3, 224, 224))
    assert cost.parameters == 25_557_032 - 2_049_000  # without the classifier
    assert round(cost.flops / 2e9, 2) == 4.09
    # layer1's first block: its input, and branch and shortcut, four times as wide
    assert cost.peak.live_bytes == (64 + 256 + 256) * 56**2
    assert cost.peak.module == "layer1.0.downsample.0"
    assert cost.largest_layer.layer_bytes == (256 + 128) * 56**2


def test_whole_classifiers_and_grouped_convolutions(mmpretrain_scope):
    from mmpretrain.models import ImageClassifier

    model = ImageClassifier(
        backbone=dict(type="mmpretrain.MobileNetV2", widen_factor=0.25),
        neck=dict(type="mmpretrain.GlobalAveragePooling"),
        head=dict(type="mmpretrain.LinearClsHead", num_classes=10, in_channels=1280),
    )
    cost = measure_complexity(model, (3, 32, 48))
    flops, _ = counted_on_cpu(model, torch.rand(1, 3, 32, 48))
    assert cost.flops == flops
    assert cost.flops_by_module["head"] == 2 * 1280 * 10
    features = measure_complexity(model, (3, 32, 48), method="extract_feat")
    assert features.flops == flops - 2 * 1280 * 10


def test_deformable_convolutions_of_mmcv():
    from mmcv.ops import ModulatedDeformConv2dPack

    conv = ModulatedDeformConv2dPack(8, 12, 3, stride=2, padding=1, groups=2)
    x = torch.rand(1, 8, 9, 14)
    real = conv(x)
    cost = measure_complexity(conv, (8, 9, 14))
    assert cost.operations[-1].shape == real.shape == (1, 12, 5, 7)
    offsets = 27 * 8 * 9
    assert cost.flops == 2 * 35 * (offsets + 12 * 4 * 9)
    assert torch.equal(conv(x), real)  # MMCV's operator is in its place again


class OnTokens(nn.Module):
    """A layer of PyTorch's own on the pixels of a map."""

    def __init__(self, layer, **options):
        super().__init__()
        self.layer, self.options = layer, options

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        inputs = [tokens] * (3 if isinstance(self.layer, nn.MultiheadAttention) else 1)
        return self.layer(*inputs, **self.options)


@pytest.mark.parametrize("attention", ["fused", "unfused"])
@pytest.mark.parametrize("options", [{}, dict(need_weights=False)], ids=str)
def test_attention_of_pytorch(attention, options):
    layer = OnTokens(nn.MultiheadAttention(16, 2, batch_first=True), **options)
    cost = measure_complexity(layer, (16, 12, 12), attention=attention)
    tokens = 12 * 12
    assert cost.flops == 2 * tokens * 16 * 4 * 16 + 4 * tokens**2 * 16
    makes_matrix = bool(not options or attention == "unfused")  # it returns it
    assert (cost.peak.live_bytes > 2 * tokens**2) == makes_matrix


def test_what_is_not_counted_is_said():
    with pytest.warns(UserWarning, match="layer: the FLOPs of .*rnn.* not counted"):
        measure_complexity(OnTokens(nn.LSTM(16, 8)), (16, 4, 4))


def test_deformable_convolutions_of_torchvision():
    class Pack(DeformConv2d):
        def forward(self, x):
            return super().forward(x, x[:, :18].clone())

    cost = measure_complexity(Pack(20, 12, 3, padding=1, groups=2), (20, 9, 14))
    assert cost.flops == 2 * 9 * 14 * 12 * 10 * 9


def test_a_module_named_stem_is_one_layer():
    backbone = AttnPoolResNet(18, deep_stem=True, base_channels=8, stem_channels=8)
    model = nn.Sequential(OrderedDict(backbone=backbone))
    cost = measure_complexity(model, (3, 32, 32))
    for depth in (0, 1):
        top = [la for la in list_layers(model, cost, depth) if la.level == 0]
        assert sum(layer.flops for layer in top) == cost.flops
        assert sum(layer.parameters for layer in top) == cost.parameters


def test_branches_live_beside_one_another():
    model = Net(
        lambda net, x: net.a(x) + net.b(x),
        a=nn.Conv2d(4, 8, 1),
        b=nn.Conv2d(4, 8, 1),
    )
    x, n = 4 * 9, 8 * 9
    assert live(model, (4, 3, 3)) == [x, x + n, x + 2 * n, 2 * n]


def test_outputs_live_to_the_end_and_are_not_written_over():
    model = Net(lambda net, x: ((h := net.a(x)), net.b(h.relu())),
                a=nn.Conv2d(4, 8, 1), b=nn.Conv2d(8, 2, 1))  # fmt: skip
    x, n, y = 4 * 9, 8 * 9, 2 * 9
    assert live(model, (4, 3, 3)) == [x, x + n, 2 * n, 2 * n + y]
    model.run = lambda net, x: ((h := net.a(x)), h.relu())
    assert live(model, (4, 3, 3)) == [x, x + n, 2 * n]


def test_views_share_memory_and_what_nothing_reads_is_not_made():
    pool = nn.MaxPool2d(2)  # its operator gives the positions of the maxima too
    model = Net(lambda net, x: net.pool(x.flatten(2).unflatten(2, (4, 4))), pool=pool)
    assert live(model, (2, 2, 8)) == [32, 32 + 8]


def test_broadcasting_and_constants():
    scale = nn.Parameter(torch.rand(5, 1, 1))
    model = Net(lambda net, x: x * (net.scale + 1).expand(5, 6, 6).clone())
    model.scale = scale
    assert live(model, (5, 6, 6)) == [180, 180]  # what comes of weights is a constant
    model.run = lambda net, x: x.mean((2, 3), keepdim=True) * x
    assert live(model, (5, 6, 6)) == [180, 185, 185]
    model.run = lambda net, x: x.mean((2, 3), keepdim=True) + net.scale.expand(5, 6, 6)
    assert live(model, (5, 6, 6)) == [180, 185, 5 + 180]


def test_bytes_of_a_value():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sigmoid())
    assert live(model, (3, 8, 8), bytes_per_value=4) == [
        4 * value for value in live(model, (3, 8, 8))
    ]
    assert live(model.half(), (3, 8, 8)) == live(model.float(), (3, 8, 8))


def test_it_is_the_same_in_inference_mode_and_changes_nothing():
    model = attn_pool_backbone("resnet18-nlp_headfix2_nowin-1222")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    cost = measure_complexity(model, (3, 64, 64))
    with torch.inference_mode():
        assert measure_complexity(model, (3, 64, 64)) == cost
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_tensors_that_are_no_buffers():
    model = Net(lambda net, x: net.a(x) * net.table, a=nn.Conv2d(3, 4, 1))
    model.table = torch.rand(4, 5, 5)
    assert live(model, (3, 5, 5)) == [75, 175, 100]


@pytest.mark.parametrize(
    ("shape", "num_bytes", "message"),
    [
        (224, 1, "shape=224"),
        ((3, 0, 8), 1, "shape=0"),
        ((3, 8, 8), 0, "bytes_per_value=0"),
        ((4, 8, 8), 1, r"shape=\(4, 8, 8\): Conv2d .*channels"),
    ],
)
def test_errors(shape, num_bytes, message):
    with pytest.raises(ConfigError, match=message):
        measure_complexity(nn.Conv2d(3, 4, 3), shape, num_bytes)


@pytest.mark.parametrize("error", [AssertionError, IndexError, TypeError])
def test_networks_that_refuse_an_image(error):
    def forward(net, x):
        raise error("side 8")

    with pytest.raises(ConfigError, match=r"shape=\(3, 8, 8\): Net .*side 8"):
        measure_complexity(Net(forward), (3, 8, 8))


def test_values_are_needed():
    model = Net(lambda net, x: x * x.mean().item())
    with pytest.raises(ConfigError, match=r"shape=\(3, 8, 8\): Net "):
        measure_complexity(model, (3, 8, 8))
