"""Python scripts as processes that need not import OpenMMLab's packages again."""

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO

import torch

PRELOADED = ["attnpool_mm.engine.preloaded"]


def start_script(
    script: Path,
    arguments: Sequence[str | Path],
    output: Path,
    environment: Mapping[str, str],
    lock: IO,
) -> BaseProcess:
    """Start a script as `python SCRIPT ARGUMENTS` does.

    On a CPU the process is a copy of one that has imported OpenMMLab's packages, which
    takes as long as a short training. With a GPU, whose state no copy may share, it is
    a new one.

    Args:
        script (Path): The script.
        arguments (Sequence[str | Path]): Its command line.
        output (Path): What it prints is appended to this file.
        environment (Mapping[str, str]): Variables that it gets besides those of this
            process.
        lock (IO): An open file that the process keeps open.
    """
    method = "spawn" if torch.cuda.is_available() else "forkserver"
    context = get_context(method)
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(
        target=_run,
        args=(
            str(script),
            [str(argument) for argument in arguments],
            str(output),
            {**os.environ, **environment},
            DupFdOnStart(lock.fileno()),
        ),
    )
    process.start()
    return process


class DupFdOnStart:
    """A file descriptor that a process inherits as it starts."""

    def __init__(self, fd: int):
        self.fd = fd

    def __reduce__(self) -> tuple:
        return _detach, (DupFd(self.fd),)


def _detach(duplicate: DupFd) -> int:
    return duplicate.detach()


def environment_of(slot: int, jobs: int) -> dict[str, str]:
    """The variables of one of several processes at once.

    Args:
        slot (int): Its number, from 0.
        jobs (int): How many run at once. They take turns at the GPUs.
    """
    variables = {"OMP_NUM_THREADS": str(threads_each(jobs))}
    count = torch.cuda.device_count()
    if count > 1:
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = given.split(",") if given else [str(i) for i in range(count)]
        variables["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    return variables


def threads_each(jobs: int) -> int:
    """Threads that each of several processes at once gets on the CPU.

    It is `OMP_NUM_THREADS` where that is set, or an even share of the cores.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return max(1, len(os.sched_getaffinity(0)) // jobs)


def _run(
    script: str, arguments: list[str], output: str, environment: dict, lock: int
) -> None:
    os.setsid()  # a terminal's Ctrl-C is for the process that started this one
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    with open(output, "a") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
