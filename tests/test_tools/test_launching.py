"""Several processes, Slurm, resuming: the real scripts on a small classifier."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from tool_modules import run_tool

from attnpool_mm.checkpoint import load_checkpoint_file

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"
CONFIG = """
_base_ = '{root}/configs/classification/digits/resnet18-nlp-stage-end_1xb64_digits.py'
model = dict(
    backbone=dict(base_channels=8, stem_channels=8, norm_eval=True),
    head=dict(in_channels=64))
train_dataloader = dict(batch_size=16, num_workers=0, dataset=dict(indices=32))
val_dataloader = dict(num_workers=0, dataset=dict(indices=30))
test_dataloader = val_dataloader
default_hooks = dict(logger=dict(interval=1))
train_cfg = dict(max_epochs=1)
randomness = dict(seed=0)
"""
# No crop, so that the test has the same images
GRADIENT = """
_base_ = './tiny.py'
custom_imports = dict(imports=['ranks'])
train_dataloader = dict(num_workers=1, persistent_workers=True, dataset=dict(
    pipeline=[dict(type='Resize', scale=32), dict(type='PackInputs')]))
val_dataloader = dict(num_workers=1, persistent_workers=True)
load_from = '{folder}/initial.pth'
custom_hooks = [dict(type='SaveRank')]
find_unused_parameters = False
"""
RANKS = """
import torch
from mmengine.dist import get_rank
from mmengine.registry import HOOKS
from mmengine.hooks import Hook

torch.set_default_dtype(torch.float64)  # so that rounding hides nothing

@HOOKS.register_module()
class SaveRank(Hook):
    def before_train(self, runner):
        self.parameters = dict(runner.model.module.named_parameters())
        runner.optim_wrapper.optimizer.register_step_pre_hook(self.keep_gradients)

    def keep_gradients(self, *_):
        self.gradients = {n: p.grad.clone() for n, p in self.parameters.items()}

    def after_train(self, runner):
        state = (self.parameters, self.gradients)
        torch.save(state, runner.work_dir + f'/rank{get_rank()}.pth')
"""
# Draws in the worker (crops) and in the training process (the pools' noise)
RESUMED = """
_base_ = './tiny.py'
model = dict(backbone=dict(
    norm_eval=False, pool_cfg=dict(_delete_=True, type='GaussianPool2d')))
train_dataloader = dict(num_workers=1, persistent_workers=True)
optim_wrapper = dict(optimizer=dict(lr=0.02))
train_cfg = dict(max_epochs=3)
randomness = dict(seed=None)
custom_hooks = [
    dict(type='attnpool_mm.EpochSeedHook'), dict(type='EMAHook', momentum=0.3)]
visualizer = dict(vis_backends=[
    dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
"""
SRUN = """#!/usr/bin/env bash
# A Slurm of one machine: starts the tasks here
echo "$@" > "$SLURM_FAKE/srun"
shift 2
while [[ $1 == -* ]]; do
    case $1 in --ntasks=*) export SLURM_NTASKS=${1#*=};; esac
    shift
done
[[ $SLURM_FAKE_RUNS == no ]] && exit
export SLURM_NODELIST='node[1-2]'
for ((task = 0; task < SLURM_NTASKS; task++)); do
    SLURM_PROCID=$task SLURM_LOCALID=$task "$@" &
    tasks+=($!)
done
for task in "${tasks[@]}"; do wait "$task" || exit 1; done
"""
SCONTROL = """#!/usr/bin/env bash
echo "$@" >> "$SLURM_FAKE/scontrol"
echo 127.0.0.1
"""


def run(script, *args, cwd, **environment):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["bash"] if script.endswith(".sh") else [sys.executable]
    path = os.pathsep.join([str(cwd), os.environ.get("PYTHONPATH", "")])
    defaults = {"PYTHON": sys.executable, "PORT": str(port), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, str(TOOLS / script), *map(str, args)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, **defaults, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )


def succeed(script, *args, cwd, **environment):
    done = run(script, *args, cwd=cwd, **environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def logged(work_dir, key):
    (log,) = Path(work_dir).glob("*/vis_data/scalars.json")
    lines = map(json.loads, log.read_text().splitlines())
    return [line[key] for line in lines if key in line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launching")
    (folder / "tiny.py").write_text(CONFIG.format(root=ROOT))
    (folder / "gradient.py").write_text(GRADIENT.format(folder=folder))
    (folder / "resumed.py").write_text(RESUMED)
    (folder / "ranks.py").write_text(RANKS)
    return folder


def test_two_processes_step_as_one_on_the_whole_batch(folder):
    """The oracle is plain PyTorch on all 32 images, norms in evaluation."""
    cfg = Config.fromfile(folder / "gradient.py", import_custom_modules=False)
    init_default_scope("mmpretrain")
    model = MODELS.build(cfg.model).double()
    model.init_weights()
    for parameter in model.parameters():
        if parameter.dim() == 1:  # the blocks' last norms start at 0
            torch.nn.init.uniform_(parameter, 0.5, 1)
    torch.save({"state_dict": model.state_dict()}, folder / "initial.pth")
    samples = list(DATASETS.build(cfg.train_dataloader.dataset))
    images = torch.stack([s["inputs"] for s in samples]).double()
    labels = torch.cat([s["data_samples"].gt_label for s in samples])
    model.train()
    model.backbone.train()  # norm_eval acts here
    scores = model.head.fc(model.backbone((images - 127.5) / 127.5)[-1].mean((2, 3)))
    torch.nn.functional.cross_entropy(scores, labels).backward()

    work_dir = folder / "gradient"
    words = ("gradient.py", 2, "--work-dir", work_dir)
    done = succeed("dist_train.sh", *words, cwd=folder)
    assert "Traceback" not in done.stdout + done.stderr
    assert len(logged(work_dir, "loss")) == 1  # 32 images in one step of 2 x 16
    assert len(logged(work_dir, "accuracy/top1")) == 1
    assert load_checkpoint_file(work_dir / "epoch_1.pth")["meta"]["iter"] == 1
    (parameters, gradients), (others, _) = (
        torch.load(work_dir / f"rank{rank}.pth") for rank in (0, 1)
    )
    for name, parameter in model.named_parameters():
        assert torch.equal(parameters[name], others[name])
        assert not torch.equal(parameters[name], parameter)  # a step was taken
        largest = parameter.grad.abs().max()
        difference = (gradients[name] - parameter.grad).abs().max()
        assert largest > 0 and difference <= 1e-9 * max(1, largest), name


def same(a, b, key="checkpoint"):
    """Whether two nested checkpoints are equal, to the last bit."""
    assert type(a) is type(b), key
    if isinstance(a, dict):
        assert a.keys() == b.keys(), key
        for name in a:
            same(a[name], b[name], f"{key}.{name}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), key
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{key}.{i}")
    else:
        assert torch.equal(a, b) if torch.is_tensor(a) else a == b, key


def test_a_resumed_training_equals_the_uninterrupted_one(folder):
    whole, stopped = folder / "whole", folder / "stopped"
    run_tool("train.py", folder / "resumed.py", "--work-dir", whole)
    stopped.mkdir()  # as the first training was after two epochs
    (stopped / "epoch_2.pth").write_bytes((whole / "epoch_2.pth").read_bytes())
    (stopped / "last_checkpoint").write_text(str(stopped / "epoch_2.pth"))
    time.sleep(1 - time.time() % 1)  # MMEngine names a run by its second
    run_tool("train.py", folder / "resumed.py", "--work-dir", stopped, "--resume")
    expected, resumed = (
        load_checkpoint_file(work_dir / "epoch_3.pth") for work_dir in (whole, stopped)
    )
    for key in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
        same(expected[key], resumed[key], key)
    # the validation of the second epoch, which came after its checkpoint, is made up
    assert logged(stopped, "step")[:3] == [2, 5, 6]
    assert logged(stopped, "accuracy/top1") == logged(whole, "accuracy/top1")[1:]
    assert logged(stopped, "loss") == logged(whole, "loss")[4:]
    for work_dir in (whole, stopped):
        assert list(work_dir.glob("*/vis_data/events.out.tfevents.*"))
    # the average is another model than the last step's, and the one that is saved
    state, other = expected["state_dict"], expected["ema_state_dict"]
    weight = "backbone.layer1.0.conv1.weight"
    assert not torch.equal(state[weight], other[f"module.{weight}"])


@pytest.fixture(scope="module")
def slurm(folder):
    commands = folder / "slurm"
    commands.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    path = os.pathsep.join([str(commands), os.environ["PATH"]])
    (folder / "calls").mkdir()
    return {
        "PATH": path,
        "SLURM_FAKE": str(folder / "calls"),
        "GPUS": "2",
        "GPUS_PER_NODE": "2",
        "CPUS_PER_TASK": "1",
        "SRUN_ARGS": "--gres=none --quiet",
    }


class TestSlurm:
    def test_train_and_test(self, folder, slurm):
        work_dir = folder / "of slurm"
        done = succeed(
            "slurm_train.sh",
            *("cpus", "digits", "tiny.py", work_dir),
            *("--cfg-options", "randomness.seed=1"),
            cwd=folder,
            **slurm,
        )
        assert "Traceback" not in done.stdout + done.stderr
        assert len(logged(work_dir, "loss")) == 1  # 32 images in 1 step of 2 x 16
        call = (folder / "calls/srun").read_text()
        assert call.startswith("-p cpus --job-name=digits --gres=gpu:2 --ntasks=2 ")
        assert "--ntasks-per-node=2 --cpus-per-task=1 --kill-on-bad-exit=1" in call
        assert " --gres=none --quiet " in call and "--launcher=slurm" in call
        asked = (folder / "calls/scontrol").read_text().splitlines()
        assert set(asked) == {"show hostnames node[1-2]"}

        # what it starts, tools/test.py, others test
        succeed(
            "slurm_test.sh",
            *("cpus", "digits", "tiny.py", work_dir / "epoch_1.pth"),
            *("--out", "slurm metrics.json"),
            cwd=folder,
            **{**slurm, "GPUS": "1", "SLURM_FAKE_RUNS": "no"},
        )
        call = (folder / "calls/srun").read_text()
        assert " --ntasks=1 " in call
        started = f"/test.py tiny.py {work_dir}/epoch_1.pth --launcher=slurm"
        assert f"{started} --out slurm metrics.json" in call

    @pytest.mark.parametrize(
        ("script", "words"),
        [("slurm_train.sh", "CONFIG WORK_DIR"), ("slurm_test.sh", "CONFIG CHECKPOINT")],
    )
    def test_usage(self, folder, script, words):
        done = run(script, "cpus", "digits", "tiny.py", cwd=folder)
        assert done.returncode == 2 and done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("usage:") and f"PARTITION JOB_NAME {words}" in line


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_compiled_training_is_the_same(folder, backend):
    losses = []
    for name, options in (("plain", []), (backend, [f"compile.backend={backend}"])):
        work_dir = folder / f"compile {backend} {name}"
        options = ["--no-validate", "--cfg-options", "train_cfg.max_epochs=2", *options]
        succeed("train.py", "tiny.py", "--work-dir", work_dir, *options, cwd=folder)
        losses.append(logged(work_dir, "loss"))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
