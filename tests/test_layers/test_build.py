import subprocess
import sys

import pytest
import torch
from mmcv.cnn import ConvModule, build_conv_layer
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmpretrain.models import MobileNetV2, ResNet
from torch import nn

from attnpool_mm.layers import DynamicConv2d, build_conv, resolve_conv_cfg
from attnpool_mm.registry import MODELS
from attnpool_mm.utils.errors import ConfigError

SCOPES = ["mmengine", "mmdet", "mmpretrain", "attnpool_mm"]
DYNAMIC = dict(type="DynamicConv2d", num_kernels=2)
BY_PREFIX = dict(type="attnpool_mm.DynamicConv2d", num_kernels=2)


@pytest.mark.parametrize("scope", SCOPES)
def test_every_name_means_the_same_in_every_scope(scope):
    by_class = dict(type=DynamicConv2d, num_kernels=2)
    with DefaultScope.overwrite_default_scope(scope):
        convs = [
            conv
            for cfg in (DYNAMIC, BY_PREFIX, by_class, ConfigDict(DYNAMIC))
            for conv in (
                build_conv(cfg, 4, 6, 3, stride=2),
                build_conv_layer(resolve_conv_cfg(cfg), 4, 6, 3, stride=2),
            )
        ]
    for conv in convs:
        assert type(conv) is DynamicConv2d
        assert conv.weight.shape == (2, 6, 4, 3, 3) and conv.stride == (2, 2)


@pytest.mark.parametrize("cfg", [None, dict(type="Conv2d"), dict(type=nn.Conv2d)])
def test_plain_convolutions(cfg):
    for scope in SCOPES:
        with DefaultScope.overwrite_default_scope(scope):
            conv = build_conv(cfg, 4, 6, 3, padding="same")
            resolved = resolve_conv_cfg(cfg)
        assert type(conv) is nn.Conv2d and conv.padding == "same"
        assert resolved is cfg


@pytest.mark.parametrize("name", ["ConvWS", "mmdet.NormedConv2d", "torch.nn.Conv2d"])
def test_other_peoples_convolutions(name):
    cfg = dict(type=name)
    for scope in ("mmdet", "mmpretrain"):
        with DefaultScope.overwrite_default_scope(scope):
            assert resolve_conv_cfg(cfg) is cfg
            conv, theirs = build_conv(cfg, 4, 6, 3), build_conv_layer(cfg, 4, 6, 3)
        assert type(conv) is type(theirs)


def test_a_convolution_of_the_users_in_our_registry():
    @MODELS.register_module()
    class DoubleConv2d(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    try:
        cfg = resolve_conv_cfg(dict(type="DoubleConv2d"))
        assert cfg == dict(type="attnpool_mm.DoubleConv2d")
        assert type(build_conv_layer(cfg, 1, 1, 1)) is DoubleConv2d
    finally:
        del MODELS.module_dict["DoubleConv2d"]


def test_the_config_is_not_changed():
    cfg = dict(DYNAMIC)
    build_conv(cfg, 4, 6, 3)
    assert resolve_conv_cfg(cfg) == BY_PREFIX
    assert cfg == DYNAMIC


@pytest.mark.parametrize("cfg, message", [
    (dict(type="DynamicCon2d"), "type='DynamicCon2d' .*Conv2d, DynamicConv2d"),
    (dict(type="nosuch.Conv"), "type='nosuch.Conv'"),
    (dict(type="attnpool_mm.No"), "type='attnpool_mm.No'"),
    (dict(type=3), "type=3"),
    (dict(num_kernels=2), "conv_cfg={'num_kernels': 2}: .*'type'"),
    ("DynamicConv2d", "conv_cfg='DynamicConv2d'"),
    (dict(DYNAMIC, kernels=2), "DynamicConv2d .* kernels: .*num_kernels"),
], ids=str)  # fmt: skip
def test_bad_configs(cfg, message):
    for scope in SCOPES:
        with DefaultScope.overwrite_default_scope(scope):
            for call in (build_conv, lambda cfg, *_: resolve_conv_cfg(cfg)):
                with pytest.raises(ConfigError, match=message) as error:
                    call(cfg, 4, 6, 3)
                assert "\n" not in str(error.value)


def networks():
    from mmdet.models import ResNet as DetectionResNet

    small = dict(depth=18, base_channels=16, stem_channels=16)
    return {
        "mmpretrain ResNet": lambda **kwargs: ResNet(**small, **kwargs),
        "mmdet ResNet": lambda **kwargs: DetectionResNet(**small, **kwargs),
        "mmpretrain MobileNetV2": lambda **kwargs: MobileNetV2(0.5, **kwargs),
        "mmcv ConvModule": lambda **kwargs: ConvModule(3, 64, 3, **kwargs),
    }


@pytest.mark.parametrize("name", networks())
def test_networks_of_the_frameworks(name):
    build = networks()[name]
    plain, network = build(), build(conv_cfg=BY_PREFIX)
    plain.init_weights()
    network.init_weights()
    convs = {n: m for n, m in plain.named_modules() if isinstance(m, nn.Conv2d)}
    dynamic = {n: m for n, m in network.named_modules() if isinstance(m, DynamicConv2d)}
    assert list(dynamic) == list(convs)
    for key, conv in convs.items():
        assert dynamic[key].weight.shape == (2, *conv.weight.shape)
        if conv.weight.numel() > 2000:
            for kernel in dynamic[key].weight:
                assert kernel.std().item() == pytest.approx(
                    conv.weight.std().item(), rel=0.1
                )
    x = torch.rand(2, 3, 64, 64)
    outs, expected = network(x), plain(x)
    if isinstance(outs, torch.Tensor):
        outs, expected = [outs], [expected]
    assert [out.shape for out in outs] == [out.shape for out in expected]
    sum(out.sum() for out in outs).backward()
    unused = [n for n, p in network.named_parameters()
              if p.requires_grad and p.grad is None]  # fmt: skip
    assert unused == []


def test_order_of_imports():
    """By the prefix alone this package is imported last."""
    code = (
        "from mmengine.registry import MODELS, DefaultScope\n"
        "cfg = dict(type='attnpool_mm.DynamicConv2d')\n"
        "for scope in ('mmpretrain', 'mmdet'):\n"
        "    with DefaultScope.overwrite_default_scope(scope):\n"
        "        net = MODELS.build(dict(type='ResNet', depth=18, conv_cfg=cfg))\n"
        "    print(type(net).__module__, type(net.conv1).__name__)\n"
        "plugin = dict(cfg=dict(type='attnpool_mm.SPEM'), position='after_conv3')\n"
        "net = MODELS.build(dict(\n"
        "    type='mmdet.ResNet', depth=50, base_channels=4, plugins=[plugin]))\n"
        "print(type(net.layer4[2].spem).__module__)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.splitlines() == [
        "mmpretrain.models.backbones.resnet DynamicConv2d",
        "mmdet.models.backbones.resnet DynamicConv2d",
        "attnpool_mm.layers.spem",
    ], run.stderr


def test_layers_need_torch_and_mmengine_alone():
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['mmcv', 'mmpretrain', 'mmdet']))\n"
        "import torch\n"
        "from attnpool_mm.layers import build_conv\n"
        "for name in ('Conv2d', 'DynamicConv2d', 'attnpool_mm.DynamicConv2d'):\n"
        "    conv = build_conv(dict(type=name), 4, 6, 3)\n"
        "    print(tuple(conv(torch.rand(1, 4, 4, 4)).shape))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "(1, 6, 2, 2)\n" * 3, run.stderr
