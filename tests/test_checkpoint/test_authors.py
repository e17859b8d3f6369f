"""The authors' state dicts become ours, whole, or are refused by name."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tool_modules import load_tool

from attnpool_mm.models import AttnPoolBackbone, arch_to_config
from attnpool_mm.checkpoint import convert_authors_state_dict, load_checkpoint_file
from attnpool_mm.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "model_converters" / "convert_authors_checkpoint.py"
# Ours inside a pool → theirs, as the reference vectors have it.
INSIDE = {
    "SelfAttentivePool2d": {
        "embed.conv": "downsample.0", "embed.norm": "downsample.1",
        "attention": "multihead_attn", "restore.conv": "restore.0",
        "restore.norm": "restore.1", "position.row": "pos_embed.row_embed.weight",
        "position.column": "pos_embed.col_embed.weight",
    },
    "LocalImportancePool2d": {"conv": "logit.0", "norm": "logit.1"},
    "GaussianPool2d": {
        "hidden.conv": "ToHidden.1", "hidden.norm": "ToHidden.2",
        "mean.conv": "ToMean.0", "mean.norm": "ToMean.1",
        "deviation.conv": "ToSigma.0", "deviation.norm": "ToSigma.1",
    },
    "AttentionPool2d": {
        "embed.conv": "downsample.0", "embed.norm": "downsample.1",
        "attention": "multihead_attn", "project.conv": "map.0",
        "project.norm": "map.1", "position.row": "pos_embed.row_embed.weight",
        "position.column": "pos_embed.col_embed.weight",
    },
    "StridedConv2d": {"conv": "0", "norm": "1"},
}  # fmt: skip
INSIDE["DeformableSelfAttentivePool2d"] = {
    **INSIDE["SelfAttentivePool2d"],
    "embed.conv": "downsample.0.conv",
    "offset": "downsample.0.p_conv",
    "mask": "downsample.0.m_conv",
}
PLAIN = ("GaussianPool2d", "AttentionPool2d", "StridedConv2d")


def renamed(name, table):
    for ours, theirs in table.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise KeyError(name)


def inside_pool(name, cfg):
    """Their name of an entry of a pool."""
    if cfg["type"] == "MixedPool2d":
        index, name = re.fullmatch(r"pools\.(\d)\.(.*)", name).groups()
        cfg = cfg["pools"][int(index)]
    prefix = "" if cfg["type"] in PLAIN else "logit.pool_weight."
    return prefix + renamed(name, INSIDE[cfg["type"]])


def authors_name(name, config):
    pool = re.fullmatch(r"(layer(\d)\.pool|maxpool|conv1\.pool)\.(.*)", name)
    mobile = "MobileNet" in config["type"]
    start = config.get("pool_position") == "stage_start"
    if pool:
        place, layer, inner = pool.groups()
        cfg = config["pool_cfg"][int(layer) - 1] if layer else config["stem_pool_cfg"]
        inner = inside_pool(inner, cfg)
        if layer is None:
            return f"pool.{inner}"
        if mobile:
            block = f"features.{int(layer) - 1}.0"
            return f"{block}.{inner}" if start else f"{block}.pooling.{inner}"
        if config["pool_position"] == "stage_end":
            return f"{place}.{inner}"
        return f"layer{layer}.0.pooling.{inner}"
    if not mobile:
        return name.replace("attention.", "") if "CIFAR" in config["type"] else name
    name = re.sub(r"^(conv[12])\.(conv|bn)", lambda m: f"{m[1]}.{'01'[m[2] == 'bn']}",
                  name)  # fmt: skip
    entry = re.fullmatch(r"layer(\d)\.(\d)\.conv\.(\d)\.(conv|bn)\.(.*)", name)
    if entry is None:
        return name
    stage, block, index = (int(entry[i]) for i in (1, 2, 3))
    block += start and config["pool_cfg"][stage - 1] is not None
    index = 3 * index + (entry[4] == "bn")
    return f"features.{stage - 1}.{block}.conv.{index}.{entry[5]}"


def authors_state(arch, prefix="net."):
    """A state dict as theirs, every entry with a value of its own, and ours."""
    config = arch_to_config(arch)
    backbone = AttnPoolBackbone(arch)
    ours = {
        name: value if name.endswith("num_batches_tracked") else torch.rand_like(value)
        for name, value in backbone.state_dict().items()
    }
    theirs = {}
    for name, value in ours.items():
        if name.endswith(".temperature"):
            value.fill_(34.0)
            continue
        if re.search(r"pool\.(pools\.\d\.)?offset\.", name):
            value = torch.cat([value[0::2], value[1::2]])
        theirs[prefix + authors_name(name, config)] = value
    return theirs, ours


ARCHS = [
    "resnet18-skip-2222",
    "resnet50_v2-gaussian_pool-1222",
    "resnet18-attnpool-4222",
    "resnet18_v2-nlpnobn1_headfix2-1222",
    "resnet18-nlpnope-1222",
    "resnet18-dfmnlp_reduced-2222",
    "resnet18_v2-mixp_headfix2-1222",
    "resnet18-dfmixp_reduced0842-1222",
    "dyresnet18-nlp_nowin-1222",
    "dyresnet18_v2-dfmixp_headfix2-1222",
    "mobilenet-skip-1222121",
    "mobilenet-maxp-2222121",
    "mobilenet-gaussian_pool-1222121",
    "mobilenet-dfmixp_reduced_headfix2-1222121",
    "mobilenet_v2-attnpool-1222121",
    "dymobilenet-mixp-1222121",
    "dymobilenet_v2-dfmnlp_reduced-1222121",
    "prepool-nlp-4-mobilenet-lip-1222121",
    "prepool-skip-2-resnet18-skip-1222",
    "prepool-dfmixp_reduced-4-dyresnet18-dfmnlp-1222",
    "spem-29",
]


@pytest.mark.filterwarnings("ignore:.*is average pooling")
@pytest.mark.parametrize("arch", ARCHS)
def test_every_entry_finds_its_place(arch):
    theirs, ours = authors_state(arch)
    converted = convert_authors_state_dict(theirs, arch)
    assert {k.removeprefix("backbone.") for k in converted} == set(ours)
    for name, value in ours.items():
        assert torch.equal(converted[f"backbone.{name}"], value), name


@pytest.mark.parametrize("prefix", ["", "module.", "module.net.", "net.module."])
def test_prefixes(prefix):
    theirs, ours = authors_state("resnet18-nlp-1222", prefix)
    converted = convert_authors_state_dict(theirs, "resnet18-nlp-1222")
    assert len(converted) == len(ours)


@pytest.mark.parametrize("name", ["fc", "classifier", "classifier.1", "linear"])
def test_the_classifier_becomes_the_head(name):
    theirs, _ = authors_state("resnet18-lip-1222")
    theirs[f"net.{name}.weight"] = torch.rand(10, 512)
    theirs[f"net.{name}.bias"] = torch.rand(10)
    converted = convert_authors_state_dict(theirs, "resnet18-lip-1222")
    assert torch.equal(converted["head.fc.weight"], theirs[f"net.{name}.weight"])
    assert torch.equal(converted["head.fc.bias"], theirs[f"net.{name}.bias"])
    theirs[f"net.{name}.weight"] = torch.rand(10, 99)
    with pytest.raises(ConfigError, match=rf"{name}.weight is 10x99, not 10x512"):
        convert_authors_state_dict(theirs, "resnet18-lip-1222")


@pytest.mark.filterwarnings("ignore:.*is average pooling")
@pytest.mark.parametrize("arch, old, new", [
    ("resnet18-dfmnlp_reduced-2222", "pool_weight.downsample.0.", "deform."),
    ("resnet18-dfmixp_reduced_headfix2-1222", "logit.pool_weight.logit.", "local."),
    ("resnet18-mixp-1222", "logit.pool_weight.logit.", "lip."),
])  # fmt: skip
def test_other_names_of_deformable_and_local_layers(arch, old, new):
    theirs, ours = authors_state(arch)
    theirs = {key.replace(old, new): value for key, value in theirs.items()}
    converted = convert_authors_state_dict(theirs, arch)
    assert all(torch.equal(converted[f"backbone.{k}"], v) for k, v in ours.items())


def test_a_classifier_is_whole():
    theirs, _ = authors_state("resnet18-lip-1222")
    for leaf, shape, missing in (
        ("weight", (10, 512), "missing: the classifier's bias"),
        ("bias", (10,), "missing: the classifier's weight"),
    ):
        with pytest.raises(ConfigError, match=missing):
            convert_authors_state_dict(
                {**theirs, f"net.fc.{leaf}": torch.rand(shape)}, "resnet18-lip-1222"
            )


@pytest.mark.parametrize("name, other", [
    ("resnet18-nlp-1222", "resnet18_v2-nlp-1222"),
    ("mobilenet-nlp-1222121", "mobilenet_v2-nlp-1222121"),
])  # fmt: skip
def test_the_other_placement_is_refused(name, other):
    for theirs, arch in ((name, other), (other, name)):
        with pytest.raises(ConfigError, match="left over: "):
            convert_authors_state_dict(authors_state(theirs)[0], arch)


@pytest.mark.parametrize("old, new", [
    ("restore.0.", "restore.X."), ("multihead_attn", "self_attn"), ("restore.1", "q.z"),
    ("ToSigma.1", "ToDeviation.1"),
])  # fmt: skip
def test_unknown_names_of_known_layers_are_refused(old, new):
    for arch in ("resnet18-mixp-1222", "resnet18-gaussian_pool-1222"):
        theirs, _ = authors_state(arch)
        changed = {key.replace(old, new): value for key, value in theirs.items()}
        if changed.keys() != theirs.keys():
            with pytest.raises(ConfigError, match=f"left over: .*{new}"):
                convert_authors_state_dict(changed, arch)


def test_old_state_dicts_do_not_count_batches():
    theirs, ours = authors_state("resnet18-skip-1222")
    theirs = {k: v for k, v in theirs.items() if "num_batches" not in k}
    converted = convert_authors_state_dict(theirs, "resnet18-skip-1222")
    assert len(converted) == len(ours)
    assert converted["backbone.bn1.num_batches_tracked"].dtype == torch.int64


def test_what_does_not_fit_is_named():
    theirs, _ = authors_state("resnet18-nlp-1222")
    arch = "resnet18-nlp-1222"
    for changed, message in [
        ({k: v for k, v in theirs.items() if k != "net.conv1.weight"},
         "missing: conv1.weight"),
        ({**theirs, "net.extra": torch.ones(1)}, "left over: net.extra"),
        ({**theirs, "net.bn1.bias": torch.ones(3)}, "net.bn1.bias is 3, not 64"),
        ({**theirs, "net.layer2.0.pooling.logit.pool_weight.restore.1.bias":
          torch.ones(128)}, "left over: net.layer2.0.pooling"),
        ({**theirs, "module.net.conv1.weight": torch.ones(1)}, "prefixes alone"),
        ({"epoch": 3}, "a dict of names and tensors"),
        ({0: torch.ones(1)}, "a dict of names and tensors"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError, match=message) as error:
            convert_authors_state_dict(changed, arch)
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="pool 'nlpp'"):
        convert_authors_state_dict(theirs, "resnet18-nlpp-1222")


def test_mixp_of_the_authors_last_code_is_dfmixp():
    theirs, _ = authors_state("resnet18-dfmixp-1222")
    with pytest.raises(ConfigError, match="the authors' last mixp is dfmixp"):
        convert_authors_state_dict(theirs, "resnet18-mixp-1222")


def convert(*arguments):
    return subprocess.run(
        [sys.executable, TOOL, *arguments], capture_output=True, text=True, cwd=ROOT
    )


def test_the_tool(tmp_path, error_of):
    arch = "resnet18-lip-1222"
    theirs, ours = authors_state(arch, "module.net.")
    theirs["module.net.fc.weight"] = torch.rand(10, 512)
    theirs["module.net.fc.bias"] = torch.rand(10)
    source, target = tmp_path / "theirs.pth", tmp_path / "ours.pth"
    torch.save(dict(net=theirs, acc=80.5, epoch=3), source)
    done = convert(source, target, "--arch", arch)
    assert done.returncode == 0, done.stderr
    assert (
        "module.net.layer2.pool.logit.pool_weight.logit.0.weight -> "
        "backbone.layer2.pool.conv.weight (128x128x1x1)" in done.stdout
    )
    assert f"{len(theirs)} of {len(theirs)} entries mapped" in done.stdout
    written = load_checkpoint_file(target)["state_dict"]
    assert set(written) == {f"backbone.{k}" for k in ours} | {
        "head.fc.weight", "head.fc.bias"
    }  # fmt: skip

    error = error_of(load_tool(TOOL), source, target, "--arch", "resnet18-nlp-1222")
    assert "does not fit arch=" in error


def test_what_the_tool_refuses(tmp_path):
    tool = load_tool(TOOL)
    source, target = tmp_path / "theirs.pth", tmp_path / "ours.pth"
    torch.save(dict(epoch=3), source)
    for arguments, message in [
        ((source, target), "it has no state dict"),
        ((source, tmp_path / "no" / "ours.pth"), "there is no folder"),
        ((tmp_path / "no.pth", target), "there is no such file"),
        ((source, tmp_path), "a file that is not the source"),
        ((source, source), "a file that is not the source"),
    ]:
        args = argparse.Namespace(
            source=str(arguments[0]), target=str(arguments[1]),
            arch="resnet18-lip-1222", trust_checkpoint=False, quiet=False,
        )  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            tool.run(args)
