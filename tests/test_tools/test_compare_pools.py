"""A plan of two trainings, stopped and resumed, and what can be wrong with a plan."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tool_modules import load_tool

from attnpool_mm.engine.candidate_training import locked

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture(scope="module")
def tool():
    return load_tool("analysis_tools/compare_pools.py")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def results_of(path):
    """The results without what a clock said."""
    results = json.loads(path.read_text())
    for run in results["runs"]:
        run["seconds"] = None
    return results


def test_stopped_and_resumed_gives_the_same_results(
    tool, plan, tmp_path, output_of, error_of, tools_undone
):
    stopped = subprocess.Popen(
        [sys.executable, tool.__file__, plan, "--work-dir", tmp_path / "stopped"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    whole = output_of(tool, plan, "--work-dir", tmp_path / "whole")
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
    said = output_of(tool, plan, "--work-dir", tmp_path / "stopped")
    assert "2 trainings, 1 of them done" in said and "[2/2]" in said
    assert "2 trainings, 0 of them done" in whole and "[1/2]" in whole
    expected = results_of(tmp_path / "whole" / "plan.json")
    assert results_of(parts) == expected
    assert [len(run["epochs"]) for run in expected["runs"]] == [3, 3]

    # Timed later: the results stay, one that failed, too
    for run in expected["runs"]:
        run["seconds"] = 1.5
    expected["runs"][1] |= dict(problem="it diverged", epochs=[])
    parts.write_text(json.dumps(expected))
    arguments = (plan, "--work-dir", tmp_path / "stopped", "--time", "1")
    said = output_of(tool, *arguments, "--plot", tmp_path / "plot.svg")
    timed = json.loads(parts.read_text())
    assert timed["runs"] == expected["runs"] and "failed (1)" in said
    assert "backbone" not in said  # no list of weights
    assert list(timed["timing"]["steps"]) == ["resnet-8_average", "resnet-8_max"]
    assert timed["timing"]["steps"]["resnet-8_average"]["ratio"] == 1
    assert "<svg" in (tmp_path / "plot.svg").read_text()

    # Of other configs none is done, and a dry run changes nothing
    changed = (*arguments[:3], "--cfg-options", "train_cfg.max_epochs=4")
    before = parts.read_bytes()
    said = output_of(tool, *changed, "--dry-run")
    assert "2 trainings, 0 of them done" in said and "2 results" in said
    assert "3x32x32" in said and parts.read_bytes() == before
    assert "resnet-8_average_seed0.py" in error_of(tool, *changed)
    assert parts.read_bytes() == before
    # Nor is a time of them one of the others, whose results are kept aside
    output_of(tool, *arguments, *changed[3:])
    now = json.loads(parts.read_text())
    assert now["runs"] == [] and now["timing"]["digest"] != timed["timing"]["digest"]
    assert parts.with_name("plan.json.old").read_bytes() == before
    output_of(tool, *arguments)  # the next copy leaves that one
    assert parts.with_name("plan.json.old").read_bytes() == before
    kept = json.loads(parts.with_name("plan.json.old1").read_text())
    assert kept["timing"] == now["timing"]
    with locked(tmp_path / "stopped"):
        assert "stopped" in error_of(tool, *arguments)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--jobs", "0"], ["--jobs=0"]),
        (["--time", "0"], ["--time=0"]),
        (["--work-dir", "plan.py"], ["work_dir", "plan.py"]),
        (["--json", "plan.py/a.json"], ["--json", "plan.py"]),
        (["--json", "."], ["--json", "folder"]),
        (["--json", "plan.py"], ["--json", "plan.py", "no results"]),
        (["--plot", "plan.py/a.svg"], ["--plot", "plan.py"]),
        (["--plot", "a.xyz"], ["--plot", ".xyz", ".svg"]),
    ],
)
def test_an_option_that_cannot_be_used(
    tool, plan, error_of, monkeypatch, arguments, named
):
    monkeypatch.chdir(plan.parent)
    said = error_of(tool, plan.name, *arguments)
    assert all(word in said for word in named)
    assert list(plan.parent.iterdir()) == [plan]  # no work has begun
