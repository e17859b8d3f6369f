"""`prune.py` on a small classifier: what it writes loads, tests and trains."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from kill_points import forked, limit_file_size
from mmengine.registry import MODELS, DefaultScope
from tool_modules import load_tool

from attnpool_mm.analysis import measure_complexity
from attnpool_mm.checkpoint import load_checkpoint_file
from attnpool_mm.datasets import Digits
from attnpool_mm.engine.launch import read_config
from attnpool_mm.utils.config import build_for_counting

CONFIGS = Path(__file__).parents[2] / "configs"
DIGITS = CONFIGS / "classification/digits/resnet18-nlp-stage-end_1xb64_digits.py"
TESTED = 128  # images
CONFIG = f"""
_base_ = '{DIGITS}'
model = dict(
    backbone=dict(
        base_channels=16, stem_channels=16,
        init_cfg=dict(type='Pretrained', checkpoint='whole.pth', prefix='backbone.')),
    head=dict(in_channels=128))
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(dataset=dict(indices=384), **loader)
val_dataloader = dict(dataset=dict(indices={TESTED}), **loader)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=0.005))
train_cfg = dict(max_epochs=2)
randomness = dict(seed=0)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The config, and weights for it."""
    folder = tmp_path_factory.mktemp("prune")
    (folder / "whole.py").write_text(CONFIG)
    cfg = read_config(str(folder / "whole.py"))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(cfg.model)
    meta = dict(dataset_meta=dict(classes=tuple("0123456789")))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / "whole.pth")
    return folder


@pytest.fixture
def prune(folder, monkeypatch, tools_undone, output_of):
    """Run the tool; return the cells of its table."""
    monkeypatch.chdir(folder)

    def run(*arguments):
        output = output_of(load_tool("deployment/prune.py"), *arguments)
        rows = (re.split(r"\s{2,}", line) for line in output.splitlines())
        return {row[0]: row[1:] for row in rows if len(row) > 1}

    return run


def test_a_detector_that_finds_nothing_has_no_metric():
    tool = load_tool("deployment/prune.py")
    cost = measure_complexity(torch.nn.Conv2d(3, 4, 1), (3, 8, 8))
    table = tool.table([cost, cost], [{"coco/bbox_mAP": 0.3}, {}])
    assert re.split(r"\s{2,}", table.splitlines()[-1])[:3] == [
        "coco/bbox_mAP",
        "0.3",
        "–",
    ]


def accuracy(model):
    """In percent, on the digits for testing."""
    steps = [dict(type="Resize", scale=32), dict(type="PackInputs")]
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        data = Digits(split="test", test_mode=True, indices=TESTED, pipeline=steps)
        samples = list(data)
    inputs = torch.stack([sample["inputs"] for sample in samples]).float()
    labels = torch.cat([sample["data_samples"].gt_label for sample in samples])
    with torch.no_grad():
        found = model.eval()((inputs - 127.5) / 127.5).argmax(1)
    return 100 * (found == labels).float().mean().item()


def build(config, checkpoint):
    cfg = read_config(str(config))
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(cfg.model)
    model.load_state_dict(load_checkpoint_file(checkpoint)["state_dict"])
    return model


def test_a_pruned_network_is_a_config_and_a_checkpoint(
    folder, prune, monkeypatch, capsys
):
    table = prune("whole.py", "whole.pth", "--ratio", 0.25, "--out", "pruned.pth")
    whole = build_for_counting(read_config("whole.py"))
    assert Path(read_config("pruned.py").load_from) == folder / "pruned.pth"
    model = build("pruned.py", "pruned.pth")
    costs = [measure_complexity(m, (3, 32, 32)) for m in (whole, model)]
    parameters = [f"{cost.parameters:,}" for cost in costs]
    assert table["parameters"][:2] == parameters
    assert table["peak kB"][2] == "0.75"
    assert model.backbone.layer4.pool.attention.embed_dim == 96
    assert float(table["accuracy/top1"][1]) == pytest.approx(accuracy(model), abs=0.01)
    saved = load_checkpoint_file("pruned.pth")
    assert saved["meta"]["dataset_meta"]["classes"] == tuple("0123456789")

    # A pruned network is pruned again
    table = prune(
        "pruned.py", "pruned.pth", "--ratio", 0.3333, "--out", "more.pth", "--no-test"
    )
    assert "accuracy/top1" not in table
    more = build("more.py", "more.pth")
    assert more.head.fc.in_features == 64 and more.backbone.conv1.out_channels == 8

    # It trains by the ordinary tool, from the weights that it has
    monkeypatch.setattr(sys, "argv", ["train.py", "more.py", "--work-dir", "work"])
    load_tool("train.py").main()
    capsys.readouterr()
    (log,) = folder.glob("work/*/vis_data/scalars.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    trained = build("more.py", "work/epoch_2.pth")
    last = [line["accuracy/top1"] for line in lines if "accuracy/top1" in line][-1]
    assert last == pytest.approx(accuracy(trained), abs=0.01)


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"--ratio": "1"}, ["ratio=1.0"]),
        ({"--ratio": "-0.5"}, ["ratio=-0.5"]),
        ({"--out": "nowhere/pruned.pth"}, ["nowhere"]),
        ({"--out": "pruned.onnx"}, ["--out", ".pth"]),
        ({"--out": "whole.pth"}, ["whole.pth"]),
        ({"checkpoint": "other.pth"}, ["other.pth", "no such file"]),
        ({"checkpoint": "small.pth"}, ["small.pth", "another shape"]),
        ({"config": "none.py"}, ["none.py"]),
        ({"--shape": "0"}, ["shape"]),
        ({"torch_pruning": None}, ["torch_pruning", "attnpool_mm[prune]"]),
    ],
)
def test_bad_input(
    folder, monkeypatch, tools_undone, error_of, changed, words, recwarn
):
    monkeypatch.chdir(folder)
    if "torch_pruning" in changed:
        monkeypatch.setitem(sys.modules, "torch_pruning", changed.pop("torch_pruning"))
    if changed.get("checkpoint") == "small.pth":
        weights = load_checkpoint_file("whole.pth")["state_dict"]
        weights["head.fc.weight"] = weights["head.fc.weight"][:, :64]
        torch.save(dict(state_dict=weights), "small.pth")
    given = dict(config="whole.py", checkpoint="whole.pth") | {"--out": "bad.pth"}
    given |= changed
    arguments = [given.pop("config"), given.pop("checkpoint")]
    for option, value in given.items():
        arguments += [f"{option}={value}"]
    error = error_of(load_tool("deployment/prune.py"), *arguments)
    assert all(word in error for word in words)
    assert not Path("bad.pth").exists() and not Path("bad.py").exists()


def test_a_config_of_another_kind_is_not_overwritten(
    folder, monkeypatch, tools_undone, error_of
):
    monkeypatch.chdir(folder)
    Path("base.py").write_text("lr = 0.1\n")
    tool = load_tool("deployment/prune.py")
    error = error_of(tool, "whole.py", "whole.pth", "--out=base.pth")
    assert "--out base.pth" in error and "base.py" in error
    assert Path("base.py").read_text() == "lr = 0.1\n"
    assert not Path("base.pth").exists()


def test_without_room_the_old_pair_stays(folder, monkeypatch, tools_undone, error_of):
    monkeypatch.chdir(folder)
    old = {"full.pth": "old", "full.py": "old = 'PrunedModel'\n"}
    for name, text in old.items():
        Path(name).write_text(text)
    before = set(folder.iterdir())

    def full():
        limit_file_size(100_000)  # the config has room, the weights have none
        words = ("whole.py", "whole.pth", "--no-test", "--out=full.pth")
        error = error_of(load_tool("deployment/prune.py"), *words)
        assert "--out full.pth: " in error and "too large" in error

    assert forked(full) == 0
    assert {name: Path(name).read_text() for name in old} == old
    assert set(folder.iterdir()) == before
