"""A classifier as a LiteRT file, and its memory in TensorFlow Lite Micro.

The converter and the two runtimes live in a Python environment of their own, which
`make micro` sets up: `micro_convert.py` runs there.
"""

import json
import os
import subprocess
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..utils.atomic_files import write_atomically
from ..utils.errors import ConfigError
from .micro_operators import DECOMPOSITIONS

SCRIPT = Path(__file__).with_name("micro_convert.py")
DEFAULT_PYTHON = Path(".venv-micro", "bin", "python")
RUNTIMES = {"LiteRT": "litert", "TensorFlow Lite Micro": "micro"}


@dataclass
class MicroExport:
    """What became of a network.

    Attributes:
        file_bytes: Size of the LiteRT file; weights and constants stay in flash.
        arena: Bytes that TensorFlow Lite Micro used, 'total', and of it the 'head',
            activations and scratch, and the 'tail', what it knows of the operators.
            Pointers count 8 bytes here and 4 on a microcontroller.
        input: Type, shape, scale and zero point of the file's input.
        output: The same of its output.
        operators: The operators in their order: name, inputs, outputs; of each tensor
            type, shape and bytes.
        outputs: By runtime, (N, classes), PyTorch's among them.
    """

    file_bytes: int
    arena: dict[str, int]
    input: dict[str, Any]
    output: dict[str, Any]
    operators: list[dict[str, Any]]
    outputs: dict[str, np.ndarray]


def check_python(python: str | Path) -> Path:
    """The Python of `make micro`, if it is there and can be run.

    Raises:
        ConfigError: It is not, or cannot.

    Example:
        >>> import sys
        >>> check_python(sys.executable).exists()
        True
    """
    python = Path(python)
    if not (python.is_file() and os.access(python, os.X_OK)):
        raise ConfigError(
            f"--micro-python {python}: there is no such program; `make micro` sets up "
            "the environment of LiteRT and TensorFlow Lite Micro"
        )
    return python


def export_micro(
    model: nn.Module,
    images: Tensor,
    target: str | Path,
    calibration: Tensor | None = None,
    python: str | Path = DEFAULT_PYTHON,
) -> MicroExport:
    """Convert a classifier to a LiteRT file, run it, and measure its arena.

    The file takes one image at a time with the channels last, (1, H, W, C), as cameras
    give it, and gives what the model gives.

    Args:
        model (nn.Module): In evaluation; takes (1, C, H, W) and gives one tensor.
        images (Tensor): (N, C, H, W), N > 0, as the network gets them. What it is run
            on.
        target (str | Path): The file, which appears when it is whole.
        calibration (Tensor | None): (M, C, H, W), M > 0, by which the ranges of int8
            are chosen. Default: the file stays float32.
        python (str | Path): The Python of `make micro`. Default: `DEFAULT_PYTHON`.

    Raises:
        ConfigError: There is no such Python, or the tracing, the conversion or a
            runtime fails, or `target` cannot be written.
    """
    python = check_python(python)
    with TemporaryDirectory() as name, torch.no_grad():
        folder = Path(name)
        torch.export.save(export_program(model, images[:1]), folder / "program.pt2")
        np.save(folder / "images.npy", _channels_last(images))
        if calibration is not None:
            np.save(folder / "calibration.npy", _channels_last(calibration))
        _run(python, folder)
        outputs = {
            runtime: np.load(folder / f"{file}.npy")
            for runtime, file in RUNTIMES.items()
        }
        outputs["PyTorch"] = torch.cat([model(image[None]) for image in images]).numpy()
        result = json.loads((folder / "result.json").read_text())
        content = (folder / "model.tflite").read_bytes()
        write_atomically(target, content)
    return MicroExport(file_bytes=len(content), outputs=outputs, **result)


def export_program(model: nn.Module, image: Tensor) -> torch.export.ExportedProgram:
    """Trace a model for images with the channels last, in operators that convert.

    Args:
        model (nn.Module): In evaluation; takes (1, C, H, W).
        image (Tensor): (1, C, H, W).

    Raises:
        ConfigError: PyTorch cannot trace it.

    Example:
        >>> program = export_program(nn.Conv2d(3, 4, 1).eval(), torch.rand(1, 3, 6, 8))
        >>> program.module()(torch.rand(1, 6, 8, 3)).shape
        torch.Size([1, 4, 6, 8])
    """
    image = image.permute(0, 2, 3, 1).contiguous()
    try:
        with warnings.catch_warnings():  # of PyTorch's, about code of its own
            warnings.simplefilter("ignore", FutureWarning)
            program = torch.export.export(_ChannelsLast(model).eval(), (image,))
            return program.run_decompositions(DECOMPOSITIONS)
    except Exception as error:  # anything: networks have operators of their own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"{type(model).__name__} cannot be traced by torch.export: {reason}"
        ) from error


class _ChannelsLast(nn.Module):
    """A model whose images are (B, H, W, C)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.permute(0, 3, 1, 2))


def _channels_last(images: Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).contiguous().numpy()


def _run(python: Path, folder: Path) -> None:
    """Run the script of the other environment in a folder.

    Raises:
        ConfigError: It fails.
    """
    done = subprocess.run(
        [python, SCRIPT, folder],
        capture_output=True,
        text=True,
        errors="replace",
        env={
            **os.environ,
            "TQDM_DISABLE": "1",
            "PYTHONWARNINGS": "ignore::FutureWarning",  # of PyTorch's, about itself
        },
    )
    if done.returncode == 0:
        return
    stage = folder / "stage"
    if not stage.exists():
        raise ConfigError(
            f"--micro-python {python}: {_last_lines(done.stderr, 1)}; `make micro` "
            "sets up the environment that is needed"
        )
    how = (
        f"was stopped by signal {-done.returncode}" if done.returncode < 0 else "failed"
    )
    raise ConfigError(f"{stage.read_text()} {how}: {_last_lines(done.stderr, 3)}")


def _last_lines(text: str, count: int) -> str:
    """The last lines that say something; those of a traceback are indented."""
    lines = [
        line
        for line in text.splitlines()
        if line[:1].strip() and not line.startswith("Traceback ")
    ]
    return "; ".join(lines[-count:]) or "it gave no message"


def agreement(exported: MicroExport) -> Mapping[str, tuple[float, float]]:
    """How the runtimes differ from PyTorch.

    Returns:
        By runtime, the largest difference of an output, and the share of the images
        with the same largest output.

    Example:
        >>> outputs = {'PyTorch': np.array([[0.0, 1.0]]), 'LiteRT': np.array([[2, 1]])}
        >>> agreement(MicroExport(0, {}, {}, {}, [], outputs))
        {'LiteRT': (2.0, 0.0)}
    """
    truth = exported.outputs["PyTorch"]
    return {
        runtime: (
            float(np.abs(outputs - truth).max()),
            float((outputs.argmax(1) == truth.argmax(1)).mean()),
        )
        for runtime, outputs in exported.outputs.items()
        if runtime != "PyTorch"
    }
