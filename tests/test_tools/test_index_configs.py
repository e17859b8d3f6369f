"""`index_configs.py`: the page, the metafiles and the index of all configs."""

import re
import shutil
from pathlib import Path

import mmpretrain
import pytest
import yaml
from mmengine.config import Config
from tool_modules import load_tool

from attnpool_mm.analysis import measure_complexity
from attnpool_mm.engine.launch import read_config
from attnpool_mm.utils.config import build_for_counting
from attnpool_mm.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]
DIGITS = Path("configs", "classification", "digits")
DETECTOR = (
    ROOT / "configs" / "demo" / "faster-rcnn_resnet18-half-nlp_fpn_digits-coco.py"
)


@pytest.fixture(scope="module")
def tool():
    return load_tool("misc/index_configs.py")


def models(root=ROOT):
    for path in yaml.safe_load((root / "model-index.yml").read_text())["Import"]:
        yield from yaml.safe_load((root / path).read_text())["Models"]


@pytest.mark.parametrize("path", [*sorted((ROOT / DIGITS).glob("*.py")), DETECTOR])
def test_a_row_has_the_models_measures(tool, path):
    row = tool.config_row(path)
    model = build_for_counting(read_config(str(path)))
    assert tool.config_row(path, model=model) == row
    assert row.parameters == sum(p.numel() for p in model.parameters())
    cost = measure_complexity(model.backbone, (3, *row.size))
    assert (row.flops, row.peak_bytes) == (cost.flops, cost.peak.live_bytes)
    assert row.multiply_adds > cost.multiply_adds  # the head's, or the neck's
    assert str(row) in (ROOT / "docs" / "configs.md").read_text().splitlines()


def test_a_metafile_counts_as_openmmlab_does(tool, tmp_path, monkeypatch):
    """Theirs has the operations of norms and pooling too, 0.7 % more."""
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    path = tmp_path / "configs" / "resnet50.py"
    path.parent.mkdir()
    path.write_text("_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'")
    entry = tool.entry(tool.config_row(path))
    folder = Path(mmpretrain.__file__).parent / ".mim" / "configs" / "resnet"
    theirs = yaml.safe_load((folder / "metafile.yml").read_text())["Models"]
    (wanted,) = (m for m in theirs if m["Name"] == "resnet50_8xb32_in1k")
    for key in ("FLOPs", "Parameters"):
        assert entry["Metadata"][key] == pytest.approx(
            wanted["Metadata"][key], rel=0.01
        )
    assert entry["Metadata"]["Training Data"] == wanted["Results"][0]["Dataset"]
    assert entry["Metadata"]["Epochs"] == 100


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        (dict(type="CIFAR10"), "CIFAR-10"),
        (dict(type="mmpretrain.MNIST"), "MNIST"),
        (dict(type="attnpool_mm.FashionMNIST"), "Fashion-MNIST"),
        (dict(type="attnpool_mm.VisualWakeWords"), "Visual Wake Words"),
        (dict(type="RepeatDataset", dataset=dict(type="STL10")), "STL-10"),
        (dict(type="CocoDataset"), "COCO"),
        (dict(type="CocoDataset", metainfo=dict(classes="ab")), "COCO, 2 classes"),
        (dict(type="Mine"), "Mine"),
    ],
    ids=str,
)
def test_the_name_of_a_data_set_is_its_classs(tool, dataset, name):
    cfg = Config(dict(train_dataloader=dict(dataset=dataset)))
    assert tool.training_data(cfg) == name


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        (dict(depth=164), "SPEM"),
        (dict(depth=20, block="basic"), "Self-Attentive Pooling"),
        (dict(depth=20, block="basic", attention_cfg=dict(type="SPEM")), "SPEM"),
    ],
    ids=str,
)
def test_the_paper_of_a_cifar_resnet(tool, backbone, name):
    backbone = dict(type="attnpool_mm.AttnPoolResNetCIFAR", **backbone)
    assert tool.collection(Config(dict(model=dict(backbone=backbone)))) == name


def test_the_tool_mends_what_is_out_of_date(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    for folder in (DIGITS, Path("configs", "_base_")):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "docs").mkdir()
    gone = tmp_path / "configs" / "classification" / "gone" / "metafile.yml"
    gone.parent.mkdir()
    gone.write_text("Models: []")

    def run(*arguments):
        tool.run(tool.parse_args(list(arguments)))
        return capsys.readouterr().out

    with pytest.raises(ConfigError, match=r"model-index.yml.*gone/metafile.yml"):
        run("--check")
    run()
    assert run("--check").startswith("0 of 3 ")
    assert not gone.exists()
    assert [m["Config"] for m in models(tmp_path)] == [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / DIGITS).glob("*.py"))
    ]
    metafile, page = (
        tmp_path / DIGITS / "metafile.yml",
        tmp_path / "docs" / "configs.md",
    )
    assert metafile.read_text() == (ROOT / DIGITS / "metafile.yml").read_text()
    page.write_text(page.read_text().replace("32×32", "32×33", 1))
    with pytest.raises(ConfigError, match=r"date: docs/configs.md;"):
        run("--check")


def test_every_config_is_on_the_page_and_in_a_metafile(tool):
    """With the same parameters, and FLOPs that are twice the multiply-adds or less."""
    row = r"\| \[[^]]+\]\(\.\./([^)]+)\) \| [^|]+ \| ([\d.,]+) \| ([\d.,]+) \|"
    page = (ROOT / "docs" / "configs.md").read_text().replace(",", "")
    rows = {path: numbers for path, *numbers in re.findall(row, page)}
    assert list(rows) == [p.relative_to(ROOT).as_posix() for p in tool.config_paths()]
    found = {model["Config"]: model["Metadata"] for model in models()}
    assert set(found) == {path for path in rows if "configs/demo/" not in path}
    for path, metadata in found.items():
        parameters, flops = rows[path]
        assert f"{metadata['Parameters'] / 1e6:.2f}" == parameters, path
        assert 2 * metadata["FLOPs"] / 1e9 > float(flops) - 5e-4, path
        if "classification" in path:  # the head has few
            assert 2 * metadata["FLOPs"] / 1e9 < 1.05 * float(flops) + 1e-3, path


@pytest.mark.slow
def test_all_rows_are_of_the_configs_as_they_are(tool, output_of):
    """tests/test_configs.py looks at a row of each kind."""
    assert output_of(tool, "--check").startswith("0 of ")
