"""LIP's networks, and the checkpoints that its authors publish."""

import pytest
import torch
import torch.nn.functional as F
from plain_lip import State, lip_densenet, lip_resnet
from tool_modules import load_tool
from torch import nn

from attnpool_mm.analysis.maps import record_weights
from attnpool_mm.checkpoint import convert_lip_state_dict
from attnpool_mm.checkpoint.lip import LIP_BACKBONES, lip_names
from attnpool_mm.models import LIPDenseNet, LIPResNet, pooled_backbone
from attnpool_mm.models.lip import LIPBottleneck
from attnpool_mm.pooling import LocalImportancePool2d
from attnpool_mm.registry import MODELS
from attnpool_mm.utils.config import NoRandomFills
from attnpool_mm.utils.errors import ConfigError

TOOL = "model_converters/convert_authors_checkpoint.py"
LIP = dict(type="LocalImportancePool2d", form="original")


def published(arch, size=(64, 64), classes=10):
    """A state dict with the authors' names, an image, and what it gives."""
    torch.manual_seed(0)
    state, image = State(), torch.randn(2, 3, *size).double()
    plain = lip_resnet if "resnet" in arch else lip_densenet
    with torch.no_grad():
        out, scores = plain(state, image, arch, classes)
    return state, image, out, scores


@pytest.fixture(scope="module")
def resnet50():
    return published("lip_resnet50", size=(64, 41))


@pytest.fixture(scope="module")
def densenet121():
    return published("lip_densenet121")


def assert_equals_published(arch, millions, state, image, out, scores):
    ours = convert_lip_state_dict(state, arch)
    head = {name: ours.pop(f"head.fc.{name}") for name in ("weight", "bias")}
    with NoRandomFills():
        backbone = MODELS.build(LIP_BACKBONES[arch]).double()
    backbone.load_state_dict(
        {name.removeprefix("backbone."): value for name, value in ours.items()}
    )
    backbone.eval()
    with torch.no_grad():
        (y,) = backbone(image)
    torch.testing.assert_close(y, out, atol=1e-9, rtol=1e-7)
    got = F.linear(y.mean((2, 3)), **head)
    torch.testing.assert_close(got, scores, atol=1e-9, rtol=1e-7)
    # As many parameters as the table in the authors' repository says
    count = sum(p.numel() for p in backbone.parameters()) + 1000 * (y.shape[1] + 1)
    assert round(count / 1e6, 1) == millions


def test_resnet50_equals_the_plain_network(resnet50):
    assert_equals_published("lip_resnet50", 23.9, *resnet50)


def test_densenet121_equals_the_plain_network(densenet121):
    assert_equals_published("lip_densenet121", 8.7, *densenet121)


def test_resnet101_has_the_published_names():
    state = published("lip_resnet101", size=(32, 32))[0]
    state = {f"module.{name}": value for name, value in state.items()}
    names = lip_names(state, "lip_resnet101")
    assert sorted(names.values()) == sorted(state)


def test_the_classifier_and_counters_may_be_missing(resnet50):
    state = {
        name: value
        for name, value in resnet50[0].items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
    ours = convert_lip_state_dict(state, "lip_resnet50")
    assert not any(name.startswith("head.") for name in ours)
    assert ours["backbone.layer2.0.bn2.num_batches_tracked"] == 0
    assert ours.keys() | {"head.fc.weight", "head.fc.bias"} == (
        convert_lip_state_dict(resnet50[0], "lip_resnet50").keys()
    )


@pytest.mark.parametrize("change, message", [
    (dict(drop="layer3.0.conv2.1.weight"), "1 missing: backbone.layer3.0.conv2.weight"),
    (dict(drop="maxpool.logit.conv.weight", add="maxpool.logit.conv.bias"),
     "1 missing: backbone.maxpool.conv.weight; 1 left over: maxpool.logit.conv.bias"),
    (dict(drop="fc.bias"), "1 missing: head.fc.bias"),
    (dict(drop="fc.bias", add="fc.bias"), "fc.bias"),
    (dict(drop="bn1.bias", add="bn1.bias"),
     r"1 of another shape: bn1.bias \(3, not 64\)"),
])  # fmt: skip
def test_what_does_not_fit_is_named(resnet50, change, message):
    state = dict(resnet50[0])
    del state[change["drop"]]
    if "add" in change:
        state[change["add"]] = torch.ones(3)
    with pytest.raises(ConfigError, match=message) as error:
        convert_lip_state_dict(state, "lip_resnet50")
    assert "\n" not in str(error.value)


def test_other_networks_are_refused(resnet50):
    state = resnet50[0]
    with pytest.raises(ConfigError, match=r"\d+ missing: .*layer3\.6\."):
        convert_lip_state_dict(state, "lip_resnet101")
    with pytest.raises(ConfigError, match=r"\d+ missing: .*; \d+ left over: conv1"):
        convert_lip_state_dict(state, "lip_densenet121")
    with pytest.raises(ConfigError, match="arch='resnet50'.*'lip_resnet50'"):
        convert_lip_state_dict(state, "resnet50")
    with pytest.raises(ConfigError, match="state_dict"):
        convert_lip_state_dict({"conv1.weight": 3}, "lip_resnet50")


def test_the_tool(tmp_path, densenet121, output_of, error_of):
    tool, state = load_tool(TOOL), dict(densenet121[0])
    source, target = tmp_path / "theirs.pth", tmp_path / "ours.pth"
    torch.save({"state_dict": state, "epoch": 90}, source)
    printed = output_of(tool, source, target, "--arch", "lip_densenet121")
    assert "features.transition1.pool.logit.bn3.weight -> " in printed
    assert "backbone.transitions.0.pool.norm.weight (128)" in printed
    saved = torch.load(target)["state_dict"]
    assert saved.keys() == convert_lip_state_dict(state, "lip_densenet121").keys()
    target.unlink()
    message = error_of(tool, source, target, "--arch", "lip_resnet50")
    assert "lip_resnet50" in message and not target.exists()


@pytest.mark.parametrize("backbone", [
    lambda: LIPResNet(50),
    lambda: pooled_backbone(dict(type="mmpretrain.MobileNetV2"), LIP),
])  # fmt: skip
def test_starts_as_average_pooling_in_a_backbone(backbone):
    network = backbone()
    network.init_weights()
    pools = [m for m in network.modules() if isinstance(m, LocalImportancePool2d)]
    assert len(pools) > 3
    for pool in pools:
        x = torch.randn(1, pool.in_channels, 7, 6)
        source = torch.randn(1, pool.conv.in_channels, 7, 6)
        mean = F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False)
        torch.testing.assert_close(pool(x, source), mean)


def test_every_parameter_of_a_shrinking_block_learns():
    torch.manual_seed(0)
    shortcut = nn.Sequential(nn.Conv2d(256, 512, 1, 2), nn.BatchNorm2d(512))
    block = LIPBottleneck(256, 512, stride=2, downsample=shortcut).eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    results = []
    for with_cp in (False, True):
        block.with_cp = with_cp
        block.zero_grad()
        x = torch.randn(2, 256, 7, 6, generator=torch.Generator().manual_seed(1))
        y = block(x.requires_grad_())
        assert y.shape == (2, 512, 4, 3)
        (y * torch.arange(12.0).view(4, 3)).mean().backward()
        results.append([y, x.grad, *(p.grad.clone() for p in block.parameters())])
    assert all(t.any() for t in results[0])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected)


def test_weights_of_both_pools_are_recorded():
    shortcut = nn.Sequential(nn.Conv2d(16, 32, 1, 2), nn.BatchNorm2d(32))
    block = LIPBottleneck(16, 32, stride=2, downsample=shortcut, hidden_channels=4)
    x = torch.randn(1, 16, 7, 6)
    with torch.no_grad(), record_weights(block.eval()) as weights:
        block(x)
        hidden = block.hidden(x)
    assert list(weights) == ["pool", "shortcut_pool"]
    for name, channels in (("pool", 8), ("shortcut_pool", 16)):
        assert weights[name].shape == (1, channels, 7, 6)
        expected = block.get_submodule(name).compute_weight(hidden)
        torch.testing.assert_close(weights[name], expected)


def test_arguments():
    backbone = LIPResNet(
        50, strides=(1, 2, 2, 1), hidden_channels=8, frozen_stages=1, out_indices=(1, 3)
    )
    assert backbone.out_channels == (512, 2048) and backbone.out_strides == (8, 16)
    assert backbone.layer3[0].hidden.conv1.out_channels == 8
    assert backbone.layer4[0].conv2.kernel_size == (3, 3)  # of stride 1
    frozen = {n.partition(".")[0] for n, p in backbone.named_parameters()
              if not p.requires_grad}  # fmt: skip
    assert frozen == {"conv1", "bn1", "maxpool", "layer1"}
    for arguments, message in (
        (dict(depth=18), "depth=18.*50, 101, 152"),
        (dict(depth=50, hidden_channels=0), "hidden_channels=0"),
        (dict(depth=50, style="caffe"), "style='caffe'"),
        (dict(depth=50, avg_down=True), "avg_down=True"),
        (dict(depth=50, pool_cfg=LIP), "pool_cfg"),
    ):
        with pytest.raises(ConfigError, match=message):
            LIPResNet(**arguments)
    with pytest.raises(ConfigError, match="depth='50'.*'121'"):
        LIPDenseNet(50)
