"""The real commands refuse every bad input in one line."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_bad_input_is_one_line():
    script = Path(__file__).with_name("bad_inputs.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
