"""The script of crafted checkpoints, whole: minutes."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("checkpoints.py")


@pytest.mark.slow
def test_no_crafted_checkpoint_does_harm(tmp_path):
    report = tmp_path / "report.md"
    command = [sys.executable, SCRIPT, "--report", report]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "| train.py --resume FILE |" in report.read_text()
