"""An ONNX file as a network, run by ONNX Runtime."""

from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.checks import check_int
from ..utils.errors import ConfigError
from ..utils.extras import require
from .network import (
    CLASSIFICATION,
    FEATURES,
    DeployedNetwork,
    flatten,
    output_shapes,
    task_of,
)
from .onnx_info import preprocessing_of, read_info


class OnnxNetwork:
    """A file of `export_onnx`, called like the network that it was made of.

    Args:
        path (str | Path): The file.
        threads (int | None): Threads of ONNX Runtime, 1 or more. Default: PyTorch's
            number.

    Attributes:
        info: The file's metadata.

    Raises:
        ConfigError: The package onnxruntime or the file is missing, or it is not a file
            that `export_onnx` wrote.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from attnpool_mm.deploy.onnx import export_onnx
        >>> with TemporaryDirectory() as folder:
        ...     info = export_onnx(nn.Conv2d(3, 8, 3), f'{folder}/conv.onnx', (3, 9, 9))
        ...     network = OnnxNetwork(f'{folder}/conv.onnx')
        >>> network(torch.rand(2, 3, 9, 9)).shape
        torch.Size([2, 8, 7, 7])
    """

    def __init__(self, path: str | Path, threads: int | None = None):
        runtime = require("onnxruntime", "onnx")
        self.path = path
        if not Path(path).is_file():
            raise ConfigError(f"ONNX file {path}: there is no such file")
        options = runtime.SessionOptions()
        threads = torch.get_num_threads() if threads is None else threads
        options.intra_op_num_threads = check_int("threads", threads)
        options.log_severity_level = 4  # what fails is raised
        try:
            self.session = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # a class of its own for each status
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"{path}: it is no ONNX file that ONNX Runtime loads: {reason}"
            ) from error
        entries = self.session.get_modelmeta().custom_metadata_map
        outputs = {output.name for output in self.session.get_outputs()}
        self.info = read_info(entries, path, outputs)

    def __call__(self, images: Tensor) -> Any:
        """Run on images (B, C, H, W), one by one.

        Returns:
            What the network returns: tensors, nested as there.

        Raises:
            ConfigError: The images have another size or number of channels than the
                file takes.
        """
        channels = self.info.shape[0]
        if images.dim() != 4 or images.shape[1] != channels or not len(images):
            raise ConfigError(
                f"images of shape {tuple(images.shape)}: the ONNX file {self.path} "
                f"takes (B, {channels}, H, W)"
            )
        self.info.check_size(*images.shape[2:])
        names = flatten(self.info.structure)
        results = [
            self.session.run(names, {"input": image.numpy()})
            for image in images.detach().float().cpu().split(1)
        ]
        tensors = {
            name: torch.cat([torch.from_numpy(y) for y in outputs]).to(images.device)
            for name, outputs in zip(names, zip(*results, strict=True), strict=True)
        }
        return _nested(self.info.structure, tensors)


def _nested(structure: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(structure, str):
        return tensors[structure]
    return [_nested(part, tensors) for part in structure]


def check_same_network(model: nn.Module, network: OnnxNetwork) -> None:
    """Check that an ONNX file may be of this model.

    What a file gives, the shapes of its outputs and the normalisation of its images
    must be the model's.

    Args:
        model (nn.Module): A classifier or a detector; its weights do not matter.
        network (OnnxNetwork): The file.

    Raises:
        ConfigError: They are not, or the file has no heads.
    """
    info, path = network.info, network.path
    if info.task == FEATURES:
        raise ConfigError(
            f"{path}: it holds backbone and neck alone, without the heads that a "
            "metric needs; classifiers and one-stage detectors can be tested"
        )
    differs = f"{path}: it was exported from another network than the config's"
    if task_of(model) != info.task:
        raise ConfigError(f"{differs}: it is for {info.task}")
    for name, value in preprocessing_of(model).items():
        if value != getattr(info, name):
            raise ConfigError(
                f"{differs}: its images have {name}={getattr(info, name)}, the "
                f"config's {name}={value}"
            )
    shape = tuple(info.shape)
    deployed = DeployedNetwork(model)
    try:
        expected = output_shapes(deployed, shape)
    except ConfigError as error:
        raise ConfigError(f"{differs}: {error}") from error
    outputs = network(torch.zeros(1, *shape))
    shapes = [tuple(y.shape) for y in _leaves(outputs)]
    if shapes != expected:
        given, wanted = next(
            ((a, b) for a, b in zip(shapes, expected, strict=False) if a != b),
            (f"{len(shapes)} outputs", f"{len(expected)} outputs"),
        )
        raise ConfigError(f"{differs}: it gives {given}, the config's {wanted}")


def _leaves(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return [y for part in outputs for y in _leaves(part)]


def replace_network(model: nn.Module, network: OnnxNetwork) -> None:
    """Let an ONNX file run in the place of a model's layers.

    Preprocessing, decoding of the outputs and all else stay the model's own.

    Args:
        model (nn.Module): The classifier or the one-stage detector of the file's
            config.
        network (OnnxNetwork): The file.

    Raises:
        ConfigError: As in `check_same_network`.
    """
    check_same_network(model, network)
    head = model.head if network.info.task == CLASSIFICATION else model.bbox_head
    model.extract_feat = lambda images, *args, **kwargs: network(images)
    _pass_on(head, lambda outputs: outputs)
    model.backbone = nn.Identity()
    model.neck = None


def _pass_on(head: nn.Module, select: Callable[[Any], Any]) -> None:
    """Let a head take its outputs from those of the file, and not compute them."""
    head.forward = select
    tasks = getattr(head, "task_heads", {})  # MMPretrain's for several tasks
    for i, task in enumerate(tasks.values()):
        _pass_on(task, lambda outputs, i=i: select(outputs)[i])


@torch.no_grad()
def difference(model: nn.Module, network: OnnxNetwork, images: Tensor) -> float:
    """The largest difference of an ONNX file's outputs from the model's.

    As a part of the largest absolute value of that output; infinite if they have other
    shapes, or one is not finite where the other is.

    Args:
        model (nn.Module): What the file was made of.
        network (OnnxNetwork): The file.
        images (Tensor): (B, C, H, W).

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from attnpool_mm.deploy.onnx import export_onnx
        >>> conv = nn.Conv2d(3, 8, 3)
        >>> with TemporaryDirectory() as folder:
        ...     info = export_onnx(conv, f'{folder}/conv.onnx', (3, 9, 9))
        ...     network = OnnxNetwork(f'{folder}/conv.onnx')
        >>> difference(conv, network, torch.rand(2, 3, 9, 9)) < 1e-5
        True
    """
    largest = 0.0
    expected = DeployedNetwork(model)(images)
    for y, wanted in zip(_leaves(network(images)), expected, strict=True):
        y, wanted = y.double(), wanted.double()  # some networks give integers
        finite = wanted.isfinite()
        if y.shape != wanted.shape or not torch.equal(y.isfinite(), finite):
            return inf
        if not torch.allclose(y[~finite], wanted[~finite], equal_nan=True):
            return inf
        if finite.any():
            y, wanted = y[finite], wanted[finite]
            scale = max(wanted.abs().max().item(), torch.finfo(wanted.dtype).tiny)
            largest = max(largest, (y - wanted).abs().max().item() / scale)
    return largest
