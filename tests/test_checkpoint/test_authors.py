"""The authors' state dicts become ours, whole, or are refused by name."""

import json
import re
from pathlib import Path

import pytest
import torch
from kill_points import forked, limit_file_size
from reference import VECTORS
from tool_modules import load_tool

from attnpool_mm.checkpoint import convert_authors_state_dict, load_checkpoint_file
from attnpool_mm.models import arch_to_config, attn_pool_backbone
from attnpool_mm.utils.config import NoRandomFills
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
}  # fmt: skip
INSIDE["DeformableSelfAttentivePool2d"] = {
    **INSIDE["SelfAttentivePool2d"],
    "embed.conv": "downsample.0.conv",
    "offset": "offset_conv.offset_conv",
    "mask": "downsample.0.m_conv",
}
PLAIN = ("GaussianPool2d", "AttentionPool2d")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is average pooling"),
    pytest.mark.filterwarnings("ignore:.*deformable sampler"),
    pytest.mark.filterwarnings("ignore:.*prepool-skip is no layer"),
]
STATES = json.loads((VECTORS / "state_names.json").read_text())


def renamed(name, table):
    for ours, theirs in table.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise KeyError(name)


def inside_pool(name, cfg):
    """Their name of an entry of a pool."""
    if cfg["type"] == "MixedPool2d":
        index, name = re.fullmatch(r"pools\.(\d)\.(.*)", name).groups()
        local = {"conv": "local.0", "norm": "local.1"}
        if index == "1" and cfg["pools"][0]["type"].startswith("Deformable"):
            return "logit.pool_weight." + renamed(name, local)
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
            return f"conv1_pool.{inner}" if mobile else f"pool.{inner}"
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
    with NoRandomFills():
        backbone = attn_pool_backbone(arch)
    ours = {
        name: value if name.endswith("num_batches_tracked") else torch.rand_like(value)
        for name, value in backbone.state_dict().items()
    }
    theirs = {}
    for name, value in ours.items():
        if name.endswith(".temperature"):
            value.fill_(34.0)
            continue
        theirs[prefix + authors_name(name, config)] = value
    return theirs, ours


# Each kind of pool, each placement, and what these have to do with one another.
ARCHS = [
    "prepool-skip-2-resnet18-skip-1222",
    "resnet18-attnpool-4222",
    "resnet18-mixp-1222",
    "resnet18_v2-gaussian_pool-1222",
    "resnet18_v2-nlpnobn1_headfix2-1222",
    "prepool-dfmixp_reduced-4-dyresnet18-lip-1222",
    "prepool-skip-6-mobilenet-skip-1222121",
    "prepool-gaussian_pool-2-dymobilenet_v2-attnpool-1222121",
    "mobilenet-maxp-2222121",
    "dymobilenet-dfmixp_reduced_headfix2-1222121",
    "dymobilenet_v2-dfmnlp_reduced-1222121",
    "spem-29",
]


def assert_whole(converted, arch, theirs):
    """Every entry is used, and every entry of our network is there."""
    with NoRandomFills():
        backbone = attn_pool_backbone(arch)
    ours = {f"backbone.{name}": v.shape for name, v in backbone.state_dict().items()}
    heads = {"head.fc.weight", "head.fc.bias"} & set(converted)
    assert set(converted) == set(ours) | heads
    assert all(converted[name].shape == shape for name, shape in ours.items())
    values = {id(value) for value in converted.values()}
    assert all(id(value) in values for value in theirs.values())


@pytest.mark.parametrize("arch", STATES)
def test_the_authors_names(arch):
    theirs = {name: torch.empty(shape) for name, shape in STATES[arch].items()}
    if arch == "mobilenet-mixp_nowin-1222121":
        is_one = "mobilenet-dfmixp_nowin-1222121"
        with pytest.raises(ConfigError, match=f"arch='{arch}': .*arch='{is_one}'"):
            convert_authors_state_dict(theirs, arch)
        arch = is_one
    assert_whole(convert_authors_state_dict(theirs, arch), arch, theirs)


@pytest.mark.parametrize("arch, expected", [
    ("resnet18-dfmnlp-1222", "arch='resnet18-dfmnlp-1222': .* beside .* 1 and"),
    ("resnet18-dfmixp_reduced-4222", "beside for patches of 1 and 4 and"),
    ("prepool-dfmnlp-2-resnet18-skip-1222", r"sampler counted .* double"),
])  # fmt: skip
def test_the_sampler_of_the_authors_is_said(arch, expected):
    theirs, _ = authors_state(arch)
    with pytest.warns(UserWarning, match=expected) as said:
        convert_authors_state_dict(theirs, arch)
    assert "\n" not in str(said[-1].message)


@pytest.mark.parametrize("arch", ARCHS)
def test_every_entry_finds_its_place(arch):
    theirs, ours = authors_state(arch)
    converted = convert_authors_state_dict(theirs, arch)
    assert {k.removeprefix("backbone.") for k in converted} == set(ours)
    for name, value in ours.items():
        assert torch.equal(converted[f"backbone.{name}"], value), name


@pytest.mark.parametrize("prefix", ["", "net.module."])
def test_prefixes(prefix):
    theirs, ours = authors_state("resnet18-nlp-1222", prefix)
    converted = convert_authors_state_dict(theirs, "resnet18-nlp-1222")
    assert len(converted) == len(ours)


def test_the_classifier_becomes_the_head():
    arch = "resnet18-lip-1222"
    theirs, _ = authors_state(arch)
    weight, bias = torch.rand(10, 512), torch.rand(10)
    for name in ("fc", "classifier", "classifier.1", "linear"):
        head = {f"net.{name}.weight": weight, f"net.{name}.bias": bias}
        converted = convert_authors_state_dict(theirs | head, arch)
        assert torch.equal(converted["head.fc.weight"], weight)
        assert torch.equal(converted["head.fc.bias"], bias)
    head = {"net.fc.weight": weight, "net.fc.bias": bias}
    for changed, message in (
        (
            {**head, "net.fc.weight": torch.rand(10, 99)},
            r"fc.weight \(10x99, not 10x512\)",
        ),
        ({"net.fc.weight": weight}, r"missing: .*fc\.bias"),
        ({"net.fc.bias": bias}, r"missing: .*fc\.weight"),
    ):
        with pytest.raises(ConfigError, match=f"arch='{arch}': .*{message}"):
            convert_authors_state_dict(theirs | changed, arch)


@pytest.mark.parametrize("name, other", [
    ("resnet18-nlp-1222", "resnet18_v2-nlp-1222"),
    ("mobilenet-nlp-1222121", "mobilenet_v2-nlp-1222121"),
])  # fmt: skip
def test_the_other_placement_is_refused(name, other):
    for theirs, arch in ((name, other), (other, name)):
        with pytest.raises(ConfigError, match=f"arch='{arch}': .*left over: net"):
            convert_authors_state_dict(authors_state(theirs)[0], arch)


@pytest.mark.parametrize("arch, old, new", [
    ("resnet18-mixp-1222", "restore.0.", "restore.X."),
    ("resnet18-mixp-1222", "restore.1", "q.z"),
    ("resnet18-gaussian_pool-1222", "ToSigma.1", "ToDeviation.1"),
])  # fmt: skip
def test_unknown_names_of_known_layers_are_refused(arch, old, new):
    theirs, _ = authors_state(arch)
    changed = {key.replace(old, new): value for key, value in theirs.items()}
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
         f"arch='{arch}': 1 missing: backbone.conv1.weight"),
        ({**theirs, "net.extra": torch.ones(1)}, "left over: net.extra"),
        ({**theirs, "net.bn1.bias": torch.ones(3)}, r"net.bn1.bias \(3, not 64\)"),
        ({**theirs, "net.layer2.0.pooling.logit.pool_weight.restore.1.bias":
          torch.ones(128)}, "left over: net.layer2.0.pooling"),
        ({**theirs, "module.net.conv1.weight": torch.ones(1)}, "state_dict: .*prefix"),
        ({"epoch": 3}, "state_dict: .*tensors"),
        ({0: torch.ones(1)}, "state_dict: .*tensors"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError, match=message) as error:
            convert_authors_state_dict(changed, arch)
        assert "\n" not in str(error.value)
    converted = convert_authors_state_dict(theirs, arch)
    with pytest.raises(ConfigError, match=r"backbone\..* no conversion"):
        convert_authors_state_dict(converted, arch)
    with pytest.raises(ConfigError, match="'nlpp'"):
        convert_authors_state_dict(theirs, "resnet18-nlpp-1222")


@pytest.mark.parametrize("arch, given", [
    ("resnet18-dfmixp_nowin-1222", "resnet18-mixp_nowin-1222"),
    ("resnet18-dfmnlp-1222", "resnet18-nlp-1222"),
    ("prepool-dfmixp-2-resnet18-skip-1222", "prepool-mixp-2-resnet18-skip-1222"),
])  # fmt: skip
def test_the_keyword_of_deformable_pools_is_said(arch, given):
    theirs, _ = authors_state(arch)
    with pytest.raises(ConfigError, match=f"arch='{given}': .*arch='{arch}'"):
        convert_authors_state_dict(theirs, given)


def test_the_tool(tmp_path, output_of, error_of):
    tool, arch = load_tool(TOOL), "resnet18-lip-1222"
    theirs, ours = authors_state(arch, "module.net.")
    theirs["module.net.fc.weight"] = torch.rand(10, 512)
    theirs["module.net.fc.bias"] = torch.rand(10)
    source, target = tmp_path / "theirs.pth", tmp_path / "ours.pth"
    torch.save(dict(net=theirs, acc=80.5, epoch=3), source)
    printed = output_of(tool, source, target, "--arch", arch)
    assert (
        "module.net.layer2.pool.logit.pool_weight.logit.0.weight -> "
        "backbone.layer2.pool.conv.weight (128x128x1x1)" in printed
    )
    assert f"{len(theirs)} of {len(theirs)} entries" in printed
    written = load_checkpoint_file(target)["state_dict"]
    assert set(written) == {f"backbone.{k}" for k in ours} | {
        "head.fc.weight", "head.fc.bias"
    }  # fmt: skip

    empty, absent = tmp_path / "empty.pth", tmp_path / "no" / "ours.pth"
    torch.save(dict(epoch=3), empty)
    for paths, message in [
        ((source, target), "arch='resnet18-nlp-1222'"),
        ((empty, target), f"checkpoint {empty}"),
        ((tmp_path / "no.pth", target), f"checkpoint {tmp_path / 'no.pth'}"),
        ((source, absent), f"target {absent}"),
        ((source, tmp_path), f"target {tmp_path}"),
        ((source, source), f"target {source}"),
    ]:
        assert message in error_of(tool, *paths, "--arch", "resnet18-nlp-1222")


def test_without_room_the_old_target_stays(tmp_path, error_of):
    tool, arch = load_tool(TOOL), "resnet18-lip-1222"
    torch.save(authors_state(arch)[0], tmp_path / "theirs.pth")
    (tmp_path / "ours.pth").write_bytes(b"old")

    def full():
        limit_file_size(1000)
        paths = (tmp_path / "theirs.pth", tmp_path / "ours.pth")
        error = error_of(tool, *paths, "--arch", arch, "--quiet")
        assert "target" in error and "ours.pth" in error and "too large" in error

    assert forked(full) == 0
    assert (tmp_path / "ours.pth").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2
