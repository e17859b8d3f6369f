"""docs/visualize.md: its commands are ones that the tools take, its config trains."""

import argparse
import re
import shlex
import sys
from pathlib import Path

import pytest
from config_runs import build_model, fake_batch, train_and_predict
from mmengine.config import Config
from tool_modules import load_tool

from attnpool_mm.engine.framework_tools import find_tool
from attnpool_mm.utils.errors import ConfigError

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "visualize.md").read_text()
BLOCKS = re.findall(r"^(?: {4}.*\n)+", TEXT, re.M)
COMMANDS = [
    line.strip()
    for block in [*BLOCKS, *re.findall(r"`(python tools/.*?)`", TEXT)]
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip().startswith("python tools/")
]


def framework_script(path):
    """The texts of the frameworks' scripts of the tool's name."""
    place = path.removeprefix("tools/")
    names = [place, "kfold-cross-valid.py" if "kfold" in place else place]
    for package in ("mmdet", "mmpretrain"):
        try:
            yield find_tool(package, names).read_text()
        except ConfigError:
            continue


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.split(".py")[0][13:])
def test_the_tools_take_the_commands(command, monkeypatch):
    _, script, *words = shlex.split(command)
    tool = load_tool(script.removeprefix("tools/"))
    if hasattr(tool, "parse_args"):
        monkeypatch.setattr(sys, "argv", [script, *words])
        assert isinstance(tool.parse_args(), argparse.Namespace)
        return
    texts = list(framework_script(script))
    assert texts
    options = [word for word in words if word.startswith("--")]
    assert any(all(f"'{o}'" in text for o in options) for text in texts)


def test_there_are_commands():
    assert len(COMMANDS) >= 18


def test_the_config(tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    path = tmp_path / "small.py"
    path.write_text(block.replace("'configs/", f"'{ROOT}/configs/"))
    cfg = Config.fromfile(path)
    model = build_model(cfg)
    train_and_predict(model, fake_batch(cfg, 32))
    assert model.head.fc.in_features == 128


def test_pictures_are_there():
    pictures = re.findall(r"\]\((images/.*?)\)", TEXT)
    assert pictures and all((ROOT / "docs" / path).is_file() for path in pictures)
