"""A plan of two trainings, stopped and resumed, and what can be wrong with a plan."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "analysis_tools" / "compare_pools.py"
CONFIG = ROOT / "configs/classification/digits/resnet20-spem_1xb64_digits.py"
PLAN = """
configs = {{"ResNet-8": {config!r}}}
options = {{
    "model.backbone": dict(
        _delete_=True, type="attnpool_mm.AttnPoolResNetCIFAR", depth=8, block="basic",
        base_channels=4, stem_channels=4, strides=(4, 2, 2)),
    "model.head.in_channels": 16,
    "custom_hooks": None,
    "optim_wrapper.constructor": "DefaultOptimWrapperConstructor",
    "train_dataloader.dataset.indices": 256,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
    "train_cfg.max_epochs": 3,
}}
axes = dict(pool={{
    "average": {{"model.backbone.pool_cfg": dict(type="AvgPool2d")}},
    "max": {{"model.backbone.pool_cfg": dict(type="MaxPool2d")}},
}})
metric = "accuracy/top1"
reference = dict(pool="average")
"""


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "plan.py"
    path.write_text(PLAN.format(config=str(CONFIG)))
    return path


def start(*arguments):
    """Start the tool as a user does, each training with one thread."""
    return subprocess.Popen(
        [sys.executable, TOOL, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def results_of(path):
    """The results without what a clock said."""
    results = json.loads(path.read_text())
    for run in results["runs"]:
        run["seconds"] = None
    return results


def test_stopped_and_resumed_gives_the_same_results(plan, tmp_path):
    whole = start(plan, "--work-dir", tmp_path / "whole")
    stopped = start(plan, "--work-dir", tmp_path / "stopped")
    parts = tmp_path / "stopped" / "plan.json"
    second = tmp_path / "stopped" / "resnet-8_max_seed0"
    while not list(second.glob("epoch_1.pth")) and stopped.poll() is None:
        time.sleep(0.02)
    stopped.send_signal(signal.SIGTERM)
    said, _ = stopped.communicate(timeout=120)
    assert stopped.returncode == 128 + signal.SIGTERM, said
    assert "resnet-8_max_seed0" in said.splitlines()[-1]
    assert [run["name"] for run in results_of(parts)["runs"]] == [
        "resnet-8_average_seed0"
    ]
    resumed = start(plan, "--work-dir", tmp_path / "stopped")
    said, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, said
    assert "2 trainings, 1 of them done" in said and "[2/2]" in said
    assert whole.communicate(timeout=240) and whole.returncode == 0
    expected = results_of(tmp_path / "whole" / "plan.json")
    assert results_of(parts) == expected
    assert [len(run["epochs"]) for run in expected["runs"]] == [3, 3]
