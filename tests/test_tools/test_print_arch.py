"""`print_arch.py` shows where the network of a keyword or a config shrinks its map."""

import re
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from tool_modules import load_tool

from attnpool_mm.models import arch_to_config

TOOL = Path(__file__).parents[2] / "tools" / "misc" / "print_arch.py"
COLUMNS = ["index", "module", "what", "stride", "map", "channels", "patch", "heads",
           "normalised", ""]  # fmt: skip
NLP = "SelfAttentivePool2d"


@pytest.fixture
def shown(monkeypatch, capsys):
    """Run the tool; return what it prints before the table, and the table's rows."""

    def run(*arguments):
        tool = load_tool("misc/print_arch.py")
        monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        tool.main()
        return parse(capsys.readouterr().out)

    return run


def parse(text):
    before, table, after = re.fullmatch(
        r"(.*?)^(index .*?)\n\n(.*)", text, re.DOTALL | re.MULTILINE
    ).groups()
    header, ruler, *lines = table.splitlines()
    columns = [match.span() for match in re.finditer("-+", ruler)]
    assert len(columns) == len(COLUMNS) - ("stem" not in table)
    rows = [[line[a:b].strip() for a, b in columns] for line in (header, *lines)]
    assert rows[0] == COLUMNS[: len(columns)]
    assert "stages" in after
    return before, rows[1:]


def test_a_keyword(shown, tmp_path):
    arch = "prepool-nlp_headfix2-4-resnet18-nlp_headfix2-1222"
    config, rows = shown(arch, "--shape", 96, 128)
    (tmp_path / "config.py").write_text(config)
    assert Config.fromfile(tmp_path / "config.py").backbone == arch_to_config(arch)
    assert rows == [
        ["0", "maxpool", NLP, "4", "24x32", "64", "2", "2", "yes", "stem"],
        ["1", "layer2.pool", NLP, "2", "12x16", "128", "1", "2", "yes", ""],
        ["2", "layer3.pool", NLP, "2", "6x8", "256", "1", "2", "yes", ""],
        ["3", "layer4.pool", NLP, "2", "3x4", "512", "1", "2", "yes", ""],
    ]


def test_a_plain_network(shown):
    _, rows = shown("resnet18-skip-1212", "--shape", 64)
    block = "BasicBlock"
    assert rows == [
        ["0", "conv1", "Conv2d", "2", "32x32", "64", "", "", "", "stem"],
        ["1", "maxpool", "MaxPool2d", "2", "16x16", "64", "", "", "", "stem"],
        ["2", "layer2.0", block, "2", "8x8", "128", "", "", "", ""],
        ["3", "layer4.0", block, "2", "4x4", "512", "", "", "", ""],
    ]


def test_a_config(shown, tmp_path):
    path = tmp_path / "config.py"
    path.write_text(
        "default_scope = 'mmpretrain'\n"
        "model = dict(type='ImageClassifier', backbone=dict("
        "type='SwinTransformer', arch='tiny'))"
    )
    before, rows = shown(path)
    assert before == ""
    assert [row[-1] for row in rows] == ["stem", *["cannot be pooled"] * 3]
    assert [row[1:3] for row in rows[1:]] == [
        [f"stages.{i}.downsample", "PatchMerging"] for i in range(3)
    ]


def test_errors_are_one_line(error_of, tmp_path):
    tool = load_tool("misc/print_arch.py")
    arch = "resnet18-nlp-1222"
    assert "pool 'nlpp'" in error_of(tool, "resnet18-nlpp-1222")
    assert "--shape [3, 4, 5]" in error_of(tool, arch, "--shape", 3, 4, 5)
    assert "(0, 0)" in error_of(tool, arch, "--shape", 0)
    assert "none.py" in error_of(tool, tmp_path / "none.py")
    (tmp_path / "empty.py").write_text("lr = 1\n")
    assert "default_scope=None" in error_of(tool, tmp_path / "empty.py")
