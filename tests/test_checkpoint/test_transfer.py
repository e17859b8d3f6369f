"""A backbone's weights go from one network into another, and compute the same there."""

import re
from pathlib import Path

import mmpretrain.models as mmpretrain_models
import pytest
import torch
import torchvision
from kill_points import forked, limit_file_size
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from tool_modules import load_tool
from torch import nn

from attnpool_mm.checkpoint import load_checkpoint_file
from attnpool_mm.checkpoint.state_dict import find_state_dict
from attnpool_mm.checkpoint.transfer import group_names, transfer_backbone
from attnpool_mm.models import (
    AttnPoolMobileNetV2,
    AttnPoolResNet,
    attn_pool_backbone,
)
from attnpool_mm.utils.errors import ConfigError

SPEM = dict(type="SPEM")
ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "model_converters" / "transfer_backbone.py"
CLASSIFIER = ROOT / "configs/demo/resnet18-half-nlp_digits.py"
DETECTOR = ROOT / "configs/demo/faster-rcnn_resnet18-half-nlp_fpn_digits-coco.py"


def evaluated(network):
    network.eval()  # MMPretrain's return None
    return network


def randomized(network):
    """The network in evaluation, with other norms and statistics than fresh ones."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            module.num_batches_tracked.fill_(7)
    return evaluated(network)


def features_of_torchvision(network, x):
    if isinstance(network, torchvision.models.MobileNetV2):
        return network.features(x)
    for name, layer in network.named_children():
        if name not in ("avgpool", "fc"):
            x = layer(x)
    return x


def loaded(backbone, source):
    """The backbone with what is transferred; every one of its keys must be there."""
    done = transfer_backbone(source, backbone)
    assert done.missing == done.unexpected == []
    weights = {k.removeprefix("backbone."): v for k, v in done.state_dict.items()}
    backbone.load_state_dict(weights)
    return evaluated(backbone), done


NETWORKS = {
    "resnet18": (lambda: AttnPoolResNet(18), ["fc.weight", "fc.bias"]),
    "resnet50": (lambda: AttnPoolResNet(50), ["fc.weight", "fc.bias"]),
    "mobilenet_v2": (
        AttnPoolMobileNetV2, ["classifier.1.weight", "classifier.1.bias"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_torchvision_computes_the_same(name):
    theirs = randomized(getattr(torchvision.models, name)(weights=None))
    build, head = NETWORKS[name]
    ours, done = loaded(build(), theirs.state_dict())
    assert done.left_out == head
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = features_of_torchvision(theirs, x)
        torch.testing.assert_close(ours(x)[-1], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("theirs, ours, prefix", [
    (lambda: mmpretrain_models.ResNet(18), lambda: AttnPoolResNet(18), ""),
    (mmpretrain_models.MobileNetV2, AttnPoolMobileNetV2, "module.backbone."),
])  # fmt: skip
def test_a_network_of_mmpretrain_computes_the_same(theirs, ours, prefix):
    theirs = randomized(theirs())
    source = {f"{prefix}{k}": v for k, v in theirs.state_dict().items()}
    if prefix:
        source["head.fc.weight"] = torch.ones(3, 4)
    ours, done = loaded(ours(), source)
    assert done.left_out == (["head.fc.weight"] if prefix else [])
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_a_file_of_torchvision_is_pretrained_weights_as_it_is(tmp_path):
    theirs = randomized(torchvision.models.resnet18(weights=None))
    file = tmp_path / "resnet18.pth"
    torch.save(theirs.state_dict(), file)
    ours = AttnPoolResNet(18, init_cfg=dict(type="Pretrained", checkpoint=str(file)))
    ours.init_weights()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = features_of_torchvision(theirs, x)
        actual = evaluated(ours)(x)[-1]
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_dynamic_kernels_start_as_the_plain_network():
    small = dict(depth=18, stem_channels=8, base_channels=8)
    plain = randomized(AttnPoolResNet(**small))
    dynamic = AttnPoolResNet(**small, conv_cfg=dict(type="DynamicConv2d"))
    before = {k: v.clone() for k, v in dynamic.state_dict().items()}
    done = transfer_backbone(plain.state_dict(), dynamic)
    after = dynamic.state_dict()
    assert all(torch.equal(value, after[k]) for k, value in before.items())
    assert done.state_dict["backbone.conv1.weight"].shape == (4, 8, 3, 7, 7)
    assert all(".attention." in k or k.endswith("temperature") for k in done.missing)
    weights = {k.removeprefix("backbone."): v for k, v in done.state_dict.items()}
    dynamic.load_state_dict(weights, strict=False)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        actual = evaluated(dynamic)(x)
        torch.testing.assert_close(actual, plain(x), rtol=1e-5, atol=1e-5)


def test_what_matches_and_what_does_not():
    source = attn_pool_backbone("resnet18-lip-1222").state_dict()
    source = {f"backbone.{k}": v for k, v in source.items()}
    source["neck.fpn.weight"] = torch.ones(1)
    target = attn_pool_backbone("resnet18-gaussian_pool-1222")
    done = transfer_backbone(source, target)
    names = list(target.state_dict())
    assert done.matched == [k for k in names if ".pool." not in k]
    assert done.missing == [k for k in names if ".pool." in k]
    assert done.unexpected == [
        k.removeprefix("backbone.") for k in source if ".pool." in k
    ]
    assert done.left_out == ["neck.fpn.weight"]
    assert list(done.state_dict) == [f"backbone.{k}" for k in done.matched]
    assert all(value is source[k] for k, value in done.state_dict.items())
    groups = group_names(done.missing)
    assert list(groups) == ["layer2.pool", "layer3.pool", "layer4.pool"]
    rejoined = [f"{group}.{k}" for group, inside in groups.items() for k in inside]
    assert rejoined == done.missing


@pytest.mark.parametrize("source, target, message", [
    (lambda: AttnPoolResNet(50), lambda: AttnPoolResNet(18),
     "layer1.0.conv1.weight is 64x64x1x1, not 64x64x3x3.* 18 "),
    # another width has the same names; its shapes are another network's
    (lambda: torchvision.models.mobilenet_v2(width_mult=0.5), AttnPoolMobileNetV2,
     "conv1.conv.weight is 16x3x3x3, not 32x3x3x3"),
    (lambda: torchvision.models.squeezenet1_1(weights=None), lambda: AttnPoolResNet(18),
     "source has features.0.weight, .* has conv1.weight, bn1.weight, "),
    (lambda: torchvision.models.mobilenet_v2(weights=None), lambda: AttnPoolResNet(18),
     "source has features.0.0.weight"),
    (nn.Identity, lambda: AttnPoolResNet(18), "source has nothing; "),
])  # fmt: skip
def test_another_network_is_refused(source, target, message):
    with pytest.raises(ConfigError, match=message) as error:
        transfer_backbone(source().state_dict(), target())
    assert "\n" not in str(error.value)


def test_another_depth_is_partial():
    # per stage 3, 4, 6, 3 blocks, and 2, 2, 2, 2
    deep, shallow = AttnPoolResNet(34), AttnPoolResNet(18)
    lacking = r" 16 .* 8: .* layer1.2, layer2.2, layer2.3, layer3.2, … \(8 "
    with pytest.raises(ConfigError, match=lacking):
        transfer_backbone(deep.state_dict(), shallow)
    with pytest.raises(ConfigError, match="source lacks layer1.2"):
        transfer_backbone(shallow.state_dict(), deep)
    done = transfer_backbone(deep.state_dict(), shallow, partial=True)
    assert done.missing == [] and done.matched == list(shallow.state_dict())
    done = transfer_backbone(shallow.state_dict(), deep, partial=True)
    assert done.matched == list(shallow.state_dict()) and done.missing
    lone = {"bn1.bias": torch.ones(64)}
    with pytest.raises(ConfigError, match=" 0 .* 8: "):
        transfer_backbone(lone, shallow)
    assert transfer_backbone(lone, shallow, partial=True).matched == ["bn1.bias"]


def test_a_mobilenet_of_torchvision_with_a_block_more():
    theirs = torchvision.models.mobilenet_v2(weights=None).state_dict()
    longer = {k.replace("features.18.", "features.19."): v for k, v in theirs.items()}
    for name, value in theirs.items():
        if name.startswith("features.17."):
            longer[name.replace(".17.", ".18.")] = value
    with pytest.raises(ConfigError, match="18 .* target lacks features.18"):
        transfer_backbone(longer, AttnPoolMobileNetV2())


def test_attention_is_no_block():
    source, target = AttnPoolResNet(18, attention_cfg=SPEM), AttnPoolResNet(18)
    done = transfer_backbone(source.state_dict(), target)
    assert done.matched == list(target.state_dict()) and done.unexpected


def test_state_dicts_that_are_none():
    target = AttnPoolResNet(18)
    with pytest.raises(ConfigError, match="state_dict: .*tensors"):
        transfer_backbone({"epoch": 3}, target)
    twice = {"conv1.weight": torch.ones(1), "module.conv1.weight": torch.ones(1)}
    with pytest.raises(ConfigError, match="state_dict: .*'module.'"):
        transfer_backbone(twice, target)


def test_where_a_state_dict_is():
    weights, averaged = {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    for checkpoint, expected in (
        (weights, weights),
        ({"state_dict": weights, "meta": {}}, weights),
        ({"model": weights, "epoch": 3}, weights),
        # as MMEngine's EMAHook saves: the averaged ones are the model's
        ({"state_dict": averaged, "ema_state_dict": weights, "meta": {}}, averaged),
    ):
        assert find_state_dict(checkpoint, "a.pth") is expected
    with pytest.raises(ConfigError, match="checkpoint a.pth"):
        find_state_dict({"epoch": 3}, "a.pth")


@pytest.fixture(scope="module")
def tool():
    return load_tool(TOOL)


def build(config):
    cfg = Config.fromfile(config)
    cfg.model.backbone.pop("init_cfg", None)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model)


def test_classifier_to_detector_and_back(tool, output_of, tmp_path):
    classifier, detector = randomized(build(CLASSIFIER)), build(DETECTOR)
    there, trained, back = (tmp_path / f"{name}.pth" for name in "abc")
    torch.save(dict(state_dict=classifier.state_dict()), tmp_path / "source.pth")
    printed = output_of(tool, tmp_path / "source.pth", there, "--config", DETECTOR)
    count = len(classifier.backbone.state_dict())
    assert f"matched: {count}\n" in printed and "missing: 0\n" in printed
    assert "left out: 2 (not of a backbone)\n    head (2): fc.weight, fc" in printed

    load_checkpoint(detector, str(there), map_location="cpu")  # as load_from does
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = classifier.backbone(x)[-1]
        actual = evaluated(detector.backbone)(x)[-1]
        torch.testing.assert_close(actual, expected)

    torch.save(dict(state_dict=detector.state_dict(), meta=dict(epoch=12)), trained)
    printed = output_of(tool, trained, back, "--config", CLASSIFIER, "--quiet")
    lines = printed.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == [
        "matched", "missing", "unexpected", "left out"
    ]  # fmt: skip
    assert lines[-1] == f"{count} of the target's {count} keys: {back}"
    returned = load_checkpoint_file(back)["state_dict"]
    own = {f"backbone.{k}": v for k, v in classifier.backbone.state_dict().items()}
    assert returned.keys() == own.keys()
    assert all(torch.equal(value, own[k]) for k, value in returned.items())


def test_weights_of_torchvision_as_init_cfg(tool, output_of, tmp_path):
    theirs = randomized(torchvision.models.mobilenet_v2(weights=None))
    source, target = tmp_path / "imagenet.pth", tmp_path / "ours.pth"
    model = {f"module.{k}": v for k, v in theirs.state_dict().items()}
    torch.save(dict(model=model, epoch=299), source)
    config = ROOT / "configs/classification/stl10/resnet18-nlp-stage-end_1xb8_stl10.py"
    arch = "mobilenet_v2-lip-1222121"
    options = ("--config", config, "--cfg-options", f"model.backbone.arch={arch}")
    printed = output_of(tool, source, target, *options)
    assert "    layer2.pool (7): conv.weight, conv.bias, norm.weight, …" in printed

    init_cfg = dict(type="Pretrained", checkpoint=str(target), prefix="backbone.")
    backbone = attn_pool_backbone(arch, init_cfg=init_cfg)
    backbone.init_weights()
    for ours, other in (
        ("conv1.conv.weight", "features.0.0.weight"),
        ("layer1.0.conv.0.bn.running_var", "features.1.conv.0.1.running_var"),
        ("layer1.0.conv.1.conv.weight", "features.1.conv.1.weight"),
        ("layer7.0.conv.2.bn.bias", "features.17.conv.3.bias"),
        ("conv2.bn.running_mean", "features.18.1.running_mean"),
    ):
        assert torch.equal(backbone.state_dict()[ours], theirs.state_dict()[other])


def test_what_the_tool_refuses(tool, error_of, tmp_path):
    source, target = tmp_path / "source.pth", tmp_path / "target.pth"
    none, empty, absent = (tmp_path / n for n in ("none.py", "empty.pth", "no/a.pth"))
    torch.save(AttnPoolResNet(50).state_dict(), source)
    none.write_text("default_scope = 'mmpretrain'\n")
    empty.write_bytes(b"")
    nope = ("--cfg-options", "model.backbone.type=Nope")
    foo = ("--cfg-options", "model.backbone.foo=1")
    for paths, options, message in [
        ((source, target), (CLASSIFIER,), f"{source} for {CLASSIFIER}: "),
        ((source, target), (none,), f"config {none}: .*model.backbone"),
        ((source, target), (tmp_path / "no.py",), "config .*no.py"),
        ((source, target), (CLASSIFIER, *nope), "model.backbone.type='Nope'"),
        ((source, target), (CLASSIFIER, *foo), "model.backbone.foo: "),
        ((source, absent), (CLASSIFIER,), f"target {absent}"),
        ((source, source), (CLASSIFIER,), f"target {source}"),
        ((absent, target), (CLASSIFIER,), f"checkpoint {absent}"),
        ((empty, target), (CLASSIFIER,), f"checkpoint {empty}"),
    ]:
        error = error_of(tool, *paths, "--config", *options)
        assert re.search(f"^error: .*{message}", error), error
        assert not target.exists()


def test_a_target_that_cannot_be_written(tool, output_of, tmp_path, capsys):
    source, target = tmp_path / "source.pth", tmp_path / "target.pth"
    target.symlink_to(tmp_path / "no_folder" / "target.pth")
    torch.save({"backbone.bn1.bias": torch.ones(32)}, source)
    with pytest.raises(SystemExit) as exit_:
        output_of(tool, source, target, "--config", CLASSIFIER, "--partial")
    printed = capsys.readouterr()
    assert exit_.value.code == 2 and printed.out == ""
    assert re.fullmatch(f"error: target {target}: .*\n", printed.err)


def test_a_file_with_code_is_refused_unless_it_is_trusted(
    tool, output_of, error_of, tmp_path
):
    source, target = tmp_path / "source.pth", tmp_path / "target.pth"
    state_dict = build(CLASSIFIER).state_dict()
    torch.save(dict(state_dict=state_dict, path=tmp_path), source)
    arguments = (source, target, "--config", CLASSIFIER)
    assert "--trust-checkpoint" in error_of(tool, *arguments)
    assert not target.exists()
    output_of(tool, *arguments, "--trust-checkpoint")
    assert set(load_checkpoint_file(target)) == {"state_dict", "meta"}


def test_without_room_the_old_target_stays(tool, error_of, tmp_path):
    source, target = tmp_path / "source.pth", tmp_path / "target.pth"
    torch.save(build(CLASSIFIER).state_dict(), source)
    target.write_bytes(b"old")

    def full():
        limit_file_size(100_000)  # MMEngine copies the config
        error = error_of(tool, source, target, "--config", CLASSIFIER)
        assert f"target {target}: " in error and "too large" in error

    assert forked(full) == 0
    assert target.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2
