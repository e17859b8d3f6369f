"""Training with SPEM, by the real script, reaches its accuracy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/classification/digits/resnet20-spem_1xb64_digits.py"


@pytest.mark.slow
def test_resnet20_with_spem_reads_digits(tmp_path):
    command = [
        *(sys.executable, ROOT / "tools/train.py", CONFIG),
        *("--work-dir", tmp_path, "--cfg-options", "randomness.seed=0"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-4000:]
    (log,) = tmp_path.glob("*/vis_data/scalars.json")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    accuracy = [r["accuracy/top1"] for r in records if "accuracy/top1" in r]
    assert accuracy[-1] >= 97
    penalty = [r["spem_penalty"] for r in records if "spem_penalty" in r]
    assert penalty[-1] < penalty[0] < 9 * 0.1 * 0.5  # from that of a fresh network
    last = [r for r in records if "spem_lambda/layer1.0" in r][-1]
    assert sum(key.startswith("spem_lambda/") for key in last) == 9
