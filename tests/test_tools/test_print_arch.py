"""`print_arch.py` shows the config and the stages of a keyword."""

import re
import subprocess
import sys
from pathlib import Path

from mmengine.config import Config
from tool_modules import load_tool

from attnpool_mm.models import arch_to_config

TOOL = Path(__file__).parents[2] / "tools" / "misc" / "print_arch.py"
ARCH = "prepool-nlp_headfix2-4-resnet18-nlp_headfix2-1222"


def print_arch(*arguments):
    command = [sys.executable, TOOL, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_config_and_stages(tmp_path):
    done = print_arch(ARCH, "--shape", "96", "128")
    assert done.returncode == 0, done.stderr
    config, table = re.split(r"\n(?=stage )", done.stdout)
    (tmp_path / "config.py").write_text(config)
    assert Config.fromfile(tmp_path / "config.py").backbone == arch_to_config(ARCH)
    rows = [re.split(r"\s{2,}", line) for line in table.strip().splitlines()]
    assert rows[0] == ["stage", "stride", "map", "channels", "pool", "patch", "heads",
                       "normalised"]  # fmt: skip
    nlp = "SelfAttentivePool2d"
    assert rows[2] == ["stem", "4", "24x32", "64", nlp, "2", "2", "yes"]
    assert rows[3] == ["layer1", "1", "24x32", "64"]
    assert rows[4] == ["layer2", "2", "12x16", "128", nlp, "1", "2", "yes"]
    assert len(rows) == 7


def test_errors_are_one_line(error_of):
    tool = load_tool("misc/print_arch.py")
    assert "pool 'nlpp'" in error_of(tool, "resnet18-nlpp-1222")
    message = "--shape [3, 4, 5]: one or two"
    assert message in error_of(tool, ARCH, "--shape", 3, 4, 5)
