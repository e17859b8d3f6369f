"""docs/registry.md: what the names are, and what an import changes outside."""

import json
import re
import subprocess
import sys
from inspect import isclass, isfunction
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

from attnpool_mm import models, registry
from attnpool_mm.models import heads  # noqa: F401 (a config imports it)
from attnpool_mm.registry import MODELS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "registry.md").read_text()
ROWS = [
    re.findall(r"^\| `(\w+)` \| (class|builder `\w+`) \| (.+) \|$", section, re.M)
    for section in TEXT.split("\n## ")
]
NAMES = [row for rows in ROWS for row in rows]
CHANGES = TEXT.split("\n## What an import changes\n")[1]
OURS = dict(type="attnpool_mm.AttnPoolResNet", depth=18)
LIP = dict(type="LocalImportancePool2d")
RESNET = dict(type="mmpretrain.ResNet", depth=18, out_indices=(1, 2, 3))
HEAD = dict(type="LinearClsHead", num_classes=3)
CLASSES = (  # that were functions once, each with its parent
    (dict(type="LIPDenseNet", depth=121), "DenseNet"),
    (dict(type="AttnPoolClassifier", backbone=OURS, head=HEAD), "ImageClassifier"),
)
# Arguments of each builder, and the class of what it makes
BUILT = {
    "AttnPoolBackbone": (dict(arch="mobilenet-lip-1222121"), "AttnPoolMobileNetV2"),
    "AttnPoolDetector": (
        dict(
            detector="RetinaNet",
            backbone=RESNET,
            neck=dict(
                type="FPN", in_channels=None, out_channels=16, start_level=0,
                num_outs=3),
            bbox_head=dict(
                type="RetinaHead", num_classes=2, in_channels=16,
                anchor_generator=dict(
                    type="AnchorGenerator", scales=[4], ratios=[1.0],
                    strides=[8, 16, 32])),
        ),
        "RetinaNet",
    ),
    "PooledBackbone": (dict(backbone=RESNET, pool_cfg=LIP), "ResNet"),
    "PrunedModel": (
        dict(network="mmpretrain.ResNet", depth=18, shapes={}),
        "ResNet",
    ),
}  # fmt: skip


def registries():
    """Those of this package that have something."""
    found = [r for r in vars(registry).values() if isinstance(r, type(MODELS))]
    for one in found:
        one.import_from_location()
    return [one for one in found if one.scope == registry.SCOPE and one.module_dict]


def test_the_tables_list_what_is_registered():
    registered = {
        name: kind
        for r in registries()
        for name, kind in r.module_dict.items()
        # and not what other tests have added
        if kind.__module__.startswith("attnpool_mm.") or name == "SELayer"
    }
    assert sorted(name for name, _, _ in NAMES) == sorted(registered)
    for name, kind, text in NAMES:
        thing = registered[name]
        if kind == "class":
            assert isclass(thing) and thing.__name__ == name
            parent = re.match(r"an? `(\w+)`", text)
            parents = {base.__name__ for base in thing.__mro__[1:]}
            assert parent[1] in parents if parent else name == "SELayer", name
        else:
            assert isfunction(thing) and kind == f"builder `{thing.__name__}`"
            assert getattr(models, thing.__name__) is thing


def test_python_names_of_functions_are_in_snake_case():
    for name in models.__all__:
        thing = getattr(models, name)
        assert isclass(thing) == name[0].isupper(), name


@pytest.mark.parametrize("name", BUILT)
def test_builders(name):
    arguments, kind = BUILT[name]
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(dict(type=f"attnpool_mm.{name}", **arguments))
    assert type(model).__name__ == kind


def test_every_builder_is_tried():
    assert set(BUILT) == {name for name, kind, _ in NAMES if kind != "class"}


def test_classes_are_what_configs_build(mmpretrain_scope):
    for cfg, parent in CLASSES:
        kind = MODELS.get(f"attnpool_mm.{cfg['type']}")
        model = MODELS.build({**cfg, "type": f"attnpool_mm.{cfg['type']}"})
        assert type(model) is kind and kind.__base__.__name__ == parent


def test_lip_densenet_is_the_pooled_network():
    """With the names and values of MMPretrain's DenseNet after the conversion."""
    from mmpretrain.models.backbones import DenseNet

    lip = dict(LIP, form="original")
    torch.manual_seed(0)
    model = models.LIPDenseNet(121, hidden_channels=8)
    torch.manual_seed(0)
    plain = models.pool_downsampling(
        DenseNet("121"),
        [lip, *[dict(lip, hidden_channels=8, window=2)] * 3],
        stages=["stem.3", "transitions"],
    )
    for network in (model, plain):
        network.eval()
    ours, theirs = model.state_dict(), plain.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(model(x), plain(x), rtol=0, atol=0)


def test_imports_change_what_the_page_says():
    command = [sys.executable, ROOT / "tests" / "import_changes.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    listed = re.findall(r"^\| ([^|]+) \| `([^`|]+)` \| .+ \|$", CHANGES, re.M)
    assert {(name, what) for name, changes in found.items() for what in changes} == {
        (name.strip("`"), what) for name, what in listed
    }


def test_a_change_is_seen(monkeypatch):
    """What the list above is made by sees a patch, a setting, and a registration."""
    import import_changes
    import mmengine.runner
    from mmengine.registry import HOOKS

    def state():
        return import_changes.settings(), import_changes.attributes()

    before = state()
    assert import_changes.differences(before, state()) == []
    monkeypatch.setattr(mmengine.runner.Runner, "train", lambda self: None)
    monkeypatch.setitem(HOOKS.module_dict, "OfATest", nn.Module)
    monkeypatch.setenv("ATTNPOOL_OF_A_TEST", "1")
    changed = import_changes.differences(before, state())
    assert {"os.environ", import_changes.REGISTERED} < {*changed}
    assert "mmengine.runner.runner.Runner.train" in changed and len(changed) == 3
