"""`equal_memory.py`: which variants fit, and their training."""

import json
from pathlib import Path

import pytest
from tool_modules import load_tool

DIGITS = str(
    Path(__file__).parents[2]
    / "configs/classification/digits/resnet20-spem_1xb64_digits.py"
)
SMALL = ("--strides", "122", "--widths", 0.25, "--sizes", 8, 16)
SHALLOW = ("--cfg-options", "model.backbone.depth=8")
VGG = """
default_scope = 'mmpretrain'
model = dict(type='ImageClassifier', backbone=dict(type='VGG', depth=11))
test_dataloader = dict(dataset=dict(type='CIFAR10', data_root='', pipeline=[
    dict(type='Resize', scale=32), dict(type='PackInputs')]))
"""


@pytest.fixture(scope="module")
def tool():
    return load_tool("analysis_tools/equal_memory.py")


def test_what_fits_is_listed(tool, output_of, tmp_path):
    path = tmp_path / "new" / "fit.json"
    options = ("--limit", "1.3kB", "--json", path, "--markdown")
    output = output_of(tool, DIGITS, *SMALL, *options, *SHALLOW)
    written = json.loads(path.read_text())
    assert written["limit"] == 1300
    entries = {entry["name"]: entry for entry in written["candidates"]}
    assert len(entries) == 4
    fit = {name for name, entry in entries.items() if entry["fits"]}
    assert fit == {n for n, e in entries.items() if e["memory"] <= 1300}
    assert 0 < len(fit) < 4
    rows = [line for line in output.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(fit)
    assert f"4 variants: {len(fit)} fit into 1.3 kB, {4 - len(fit)} do not" in output
    assert all(name in output for name in entries.keys() - fit)


@pytest.mark.parametrize("cost", ["memory", "flops"])
def test_those_nearest_to_a_cost_are_listed(tool, output_of, tmp_path, cost):
    path = tmp_path / "near.json"
    options = ("--near", cost, "--top", 1, "--json", path)
    output_of(tool, DIGITS, *SMALL, "--limit", 1000, *options, *SHALLOW)
    found = json.loads(path.read_text())
    entries = found["candidates"]
    assert found["near"] == cost
    assert {entry["fits"] for entry in entries} <= (
        {None} if cost == "flops" else {True, False}
    )
    aim = max(entries, key=lambda entry: entry["flops"])
    options = (*SMALL, "--limit", aim[cost] + 1, *options, "--markdown")
    output = output_of(tool, DIGITS, *options, *SHALLOW)
    rows = [line for line in output.splitlines() if line.startswith("|")][2:]
    own = [row for row in rows if f"| {aim['pool']} |" in row]
    assert len(rows) == 2 and len(own) == 1
    assert f"{aim['flops'] / 1e6:,.1f}" in own[0]
    assert "4 of 4 variants" in output


def test_runtimes_without_an_operator_for_attention(tool, output_of, tmp_path):
    path = tmp_path / "fit.json"
    small = ("--strides", "122", "--widths", 0.25, "--pools", "SelfAttentivePool2d")
    options = (*small, "--sizes", 16, "--limit", "400kB", "--json", path)

    def needed(*attention):
        output_of(tool, DIGITS, *options, "--attention", *attention, *SHALLOW)
        return json.loads(path.read_text())["candidates"][0]["memory"]

    matrices = 2 * 4 * 256**2  # scores and softmax in float32
    assert needed("tiled") < matrices < needed("unfused")


@pytest.mark.slow
def test_one_is_trained(tool, output_of, tmp_path, tools_undone):
    arguments = [
        *(DIGITS, *SMALL, "--limit", "10kB", "--top", 1, "--pools", "strided"),
        *("--train", "--work-dir", tmp_path / "runs", *SHALLOW),
        "train_cfg.max_epochs=1",
        *(f"{split}_dataloader.{key}" for split in ("train", "val")
          for key in ("num_workers=0", "persistent_workers=False")),
    ]  # fmt: skip
    output = output_of(tool, *arguments)
    (entry,) = json.loads((tmp_path / "runs" / "results.json").read_text()).values()
    (scores,) = entry["validations"]
    assert entry["metric"] == "accuracy/top1" and 0 <= scores["accuracy/top1"] <= 100
    (row,) = [line for line in output.splitlines() if line.startswith("strided")]
    assert f"{scores['accuracy/top1']:.2f}" in row
    assert row in output_of(tool, *arguments).splitlines()  # and not trained again
    assert len(list((tmp_path / "runs").glob("*/*/vis_data"))) == 1


@pytest.mark.parametrize("arguments, said", [
    (("--limit", "256kBit"), "--limit='256kBit'"),
    (("--limit", "1kB", "--strides", "1x2"), "--strides 1x2"),
    (("--limit", "1kB", "--widths", 0), "--widths 0"),
    (("--limit", "1kB", "--sizes", 0), "--sizes=0"),
    (("--limit", "1kB", "--top", 0), "--top=0"),
    (("--limit", "1kB", "--near", "flops"), "--limit 1kB"),
    (("--limit", "1kB", "--bytes", 0), "--bytes=0"),
    (("--limit", "1kB", "--pools", "NoPool", "--widths", 1, "--sizes", 8), "NoPool"),
    (("--limit", "1kB", "--attention-limit", "1kB"), "--attention tiled"),
    (("--limit", "1000", "--near", "flops", "--attention", "tiled"), "-limit=None"),
    (("--limit", "1kB", "--pools", "SelfAttentivePool2d", "--widths", 1, "--sizes", 8,
      "--attention", "tiled"), "one query"),
    (("--limit", "1kB", "--train", "--work-dir", __file__), "work_dir"),
    (("--limit", "1kB", "--cfg-options", "train_dataloader=None", "--train"),
     "train_dataloader"),
])  # fmt: skip
def test_bad_options_are_one_line(tool, error_of, arguments, said):
    assert said in error_of(tool, DIGITS, *SHALLOW, *arguments)


def test_a_backbone_without_any_of_it(tool, error_of, output_of, tmp_path):
    config = tmp_path / "vgg.py"
    config.write_text(VGG)
    assert "--sizes" in error_of(tool, config, "--limit", "1MB")
    assert "VGG" in error_of(tool, config, "--limit", "1MB", "--strides", "1222")
    output = output_of(tool, config, "--limit", "1MB", "--sizes", 32, 64)
    assert "2 variants: 2 fit" in output
