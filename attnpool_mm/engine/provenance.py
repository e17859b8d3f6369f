"""On what a training ran."""

import os
import platform
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import torch

PACKAGES = ("attnpool_mm", "torch", "mmengine", "mmcv", "mmdet", "mmpretrain", "numpy")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a training's numbers hang on."""
    found = {name: import_module(name).__version__ for name in PACKAGES}
    return {"python": platform.python_version(), **found}


def device_name() -> str:
    """The GPU that trainings run on, or the CPU: its model, where the system tells."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    kind = f"{os.uname().machine} CPU"
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, model = line.partition(":")
            if key.strip() == "model name":
                return f"{model.strip()}, {kind}"
    return kind
