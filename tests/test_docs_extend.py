"""docs/extend.md: its files, scripts and commands are run."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from config_runs import build_model, fake_batch, train_and_predict
from mmengine.config import Config
from tool_modules import run_tool

from attnpool_mm.engine import preflight
from attnpool_mm.pooling import SelfAttentivePool2d
from attnpool_mm.utils.errors import ConfigError

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "extend.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)
FILES = {b[2:].partition("\n")[0]: b for b in BLOCKS if b.startswith("# ")}
SCRIPTS = [b for b in BLOCKS if not b.startswith("# ")]
COMMANDS = re.findall(r"^    python (tools/.*)$", TEXT, re.M)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files, where Python finds them, and a few leaves of noise."""
    folder = tmp_path_factory.mktemp("extend")
    for name, block in FILES.items():
        (folder / name).write_text(block)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.delenv("ATTNPOOL_DATA", raising=False)
        patch.chdir(folder)
        runpy.run_path(str(folder / "random_leaves.py"))
        yield folder


def pools_of(name, folder):
    """The pools of a config's network, trained for a step."""
    cfg = Config.fromfile(folder / name)
    model = build_model(cfg)
    train_and_predict(model, fake_batch(cfg, 32))
    return {n: m for n, m in model.backbone.named_modules() if n.endswith("pool")}


@pytest.mark.parametrize("script", SCRIPTS, ids=["pool", "backbone"])
def test_scripts_print_what_they_say(script, folder, capsys):
    exec(script, {})
    printed = capsys.readouterr().out.splitlines()
    assert printed == re.findall(r"^print.*  # (.*)", script, re.M)


def test_config_of_the_pool(folder):
    pools = pools_of("brightness_digits.py", folder)
    kinds = [type(pool).__name__ for n, pool in pools.items() if n.startswith("layer")]
    assert kinds == ["BrightnessPool2d"] * 3


def test_config_of_the_backbone(folder):
    pools = pools_of("small_net_cifar10.py", folder)
    assert list(pools) == ["stage2.pool"]
    assert isinstance(pools["stage2.pool"], SelfAttentivePool2d)


def test_a_wrong_stage(folder):
    cfg = Config.fromfile(folder / "small_net_cifar10.py")
    cfg.model.backbone.stages = ["stage3"]
    with pytest.raises(ConfigError) as caught:
        build_model(cfg)
    assert f"\n    {caught.value}\n" in TEXT


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.split(".py")[0])
def test_commands_on_the_data_set(command, folder, monkeypatch, capsys):
    script, *arguments = shlex.split(command)
    monkeypatch.chdir(folder)
    if "browse" in script:  # the framework's own, which has no function to call
        monkeypatch.setenv("PYTHONPATH", str(folder))
        subprocess.run([sys.executable, ROOT / script, *arguments], check=True)
        assert len(list((folder / "look").iterdir())) == 12
        return
    run_tool(script.removeprefix("tools/"), *arguments)
    if "complexity" in script:
        assert "3x32x32" in capsys.readouterr().out
    else:
        assert (folder / "work_dirs" / "keyword_leaves" / "epoch_1.pth").is_file()


def test_missing_data(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        preflight.check_data_paths(Config.fromfile(folder / "keyword_leaves.py"))
    assert f"\n    {caught.value}\n" in TEXT


def test_there_are_three_commands():
    assert len(COMMANDS) == 3
