"""Processes that train together: joining and leaving their group, on a CPU too."""

import gc
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_world_size

from ..utils.config import type_name
from ..utils.errors import ConfigError

SYNC_NORMS = ("SyncBN", "MMSyncBN", "SyncBatchNorm")

# The variable of each launcher for PyTorch's
ENVIRONMENT = {
    "pytorch": {"RANK": "RANK"},
    "slurm": {
        "RANK": "SLURM_PROCID",
        "WORLD_SIZE": "SLURM_NTASKS",
        "LOCAL_RANK": "SLURM_LOCALID",
    },
    "mpi": {
        "RANK": "OMPI_COMM_WORLD_RANK",
        "WORLD_SIZE": "OMPI_COMM_WORLD_SIZE",
        "LOCAL_RANK": "OMPI_COMM_WORLD_LOCAL_RANK",
    },
}


def setup_distributed(cfg: Config) -> None:
    """Join the process group where MMEngine cannot: on machines without a GPU.

    MMEngine joins it while it builds the runner, and needs a GPU to do so. Here the
    group is made beforehand, over gloo, and MMEngine then uses it.

    Raises:
        ConfigError: If the launcher's environment is missing.
    """
    if cfg.launcher == "none":
        return
    _check_launcher(cfg.launcher)
    dist_cfg = cfg.get("env_cfg", {}).get("dist_cfg", {})
    if cfg.launcher != "pytorch":
        _translate_environment(cfg.launcher, dist_cfg.get("port"))
    if get_device() != "cpu":
        return
    timeout = dist_cfg.get("timeout")
    torch.distributed.init_process_group(
        "gloo", timeout=None if timeout is None else timedelta(seconds=timeout)
    )
    wrapper = {
        "type": "MMDistributedDataParallel",
        "device_ids": None,
        "broadcast_buffers": False,
        "find_unused_parameters": cfg.get("find_unused_parameters", False),
    }
    cfg.model_wrapper_cfg = {**wrapper, **(cfg.get("model_wrapper_cfg") or {})}


def _check_launcher(launcher: str) -> None:
    advice = {
        "pytorch": "tools/dist_train.sh, tools/dist_test.sh or torchrun",
        "slurm": "tools/slurm_train.sh, tools/slurm_test.sh or srun",
        "mpi": "Open MPI's mpirun",
    }
    for name in ENVIRONMENT[launcher].values():
        if name not in os.environ:
            raise ConfigError(
                f"--launcher {launcher}: {name} is not set; start the tool with "
                f"{advice[launcher]}"
            )


def _translate_environment(launcher: str, port: int | None) -> None:
    """Say in PyTorch's variables what Slurm's or Open MPI's say.

    MMEngine does the same, but later, and where `scontrol` is missing it takes the
    shell's error message for the address of the first machine.
    """
    for name, source in ENVIRONMENT[launcher].items():
        os.environ[name] = os.environ[source]
    if port is not None:
        os.environ["MASTER_PORT"] = str(port)
    os.environ.setdefault("MASTER_PORT", "29500")  # PyTorch's own
    if "MASTER_ADDR" not in os.environ:
        os.environ["MASTER_ADDR"] = _first_machine(launcher)


def _first_machine(launcher: str) -> str:
    """The name of the machine of rank 0."""
    machines = os.environ.get("SLURM_NODELIST") if launcher == "slurm" else None
    if machines is not None:
        command = ["scontrol", "show", "hostnames", machines]
        with suppress(OSError, subprocess.CalledProcessError):
            return subprocess.check_output(command, text=True).split()[0]
    raise ConfigError(
        f"--launcher {launcher}: MASTER_ADDR is not set"
        + (", and scontrol does not tell it" if launcher == "slurm" else "")
        + "; the name of the machine of rank 0 is expected there"
    )


def adapt_norms(cfg: Config, training: bool) -> None:
    """Replace SyncBN by BN where they are the same and SyncBN does not run.

    PyTorch's runs on GPUs alone. In one process, and in evaluation, it is BatchNorm;
    without a launcher MMEngine replaces it itself.

    Call it after `setup_distributed`.

    Raises:
        ConfigError: In a training of several processes on the CPU: BatchNorm would
            train another model there.
    """
    if cfg.launcher == "none" or get_device() != "cpu":
        return
    norms = [d for d in _dicts(cfg.get("model")) if type_name(d) in SYNC_NORMS]
    if not norms and cfg.get("sync_bn") is None:
        return
    if training and get_world_size() > 1:
        key = "sync_bn" if not norms else "model: norm_cfg.type='SyncBN'"
        raise ConfigError(
            f"{key}: SyncBN needs GPUs, and in {get_world_size()} processes on the "
            "CPU BN is not the same; accepted here: BN, or one process"
        )
    for norm in norms:
        norm["type"] = "BN"
    cfg.sync_bn = None


def _dicts(value: Any) -> Iterator[dict]:
    """Yield every dict in a config's value."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _dicts(inner)


def leave_distributed() -> None:
    """Destroy the process group, if there is one.

    Call it where nothing refers to the runner any more: a wrapped model keeps the
    group's threads alive, and such a thread can abort the process as Python exits.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()  # the runner and its hooks refer to each other
        torch.distributed.destroy_process_group()
