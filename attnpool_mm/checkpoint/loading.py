"""Loading checkpoints as data.

A checkpoint is a pickle, and an ordinary unpickler calls whatever the file names.
Here a file can hold tensors, plain containers and numbers, NumPy arrays of numbers
and MMEngine's `HistoryBuffer`; a file that names anything else is refused.
"""

import functools
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import serialization

from ..utils.errors import ConfigError

FORCE_SAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
FORCE_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
STATISTICS = ("min", "max", "current", "mean")


class CheckpointNotFoundError(ConfigError, FileNotFoundError):
    """A checkpoint file is not there."""


def load_checkpoint_file(
    path: str | os.PathLike, map_location: Any = "cpu", trust: bool = False
) -> dict:
    """Load a checkpoint file without running code from it.

    The key `config` is dropped from the checkpoint's `meta`: MMEngine evaluates it as
    Python when it resumes, and nothing needs it (MMEngine itself writes `cfg`).

    Args:
        path: The file.
        map_location: Where the tensors go, as in `torch.load`.
        trust: Unpickle whatever the file names, which runs the code it names.

    Raises:
        CheckpointNotFoundError: If there is no such file.
        ConfigError: If the file is no checkpoint, or names a type that is refused.

    Example:
        >>> torch.save({"state_dict": {"weight": torch.ones(2)}}, "epoch_1.pth")
        >>> load_checkpoint_file("epoch_1.pth")["state_dict"]["weight"]
        tensor([1., 1.])
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise CheckpointNotFoundError(f"checkpoint {path}: there is no such file")
    with _allowed_types():
        try:
            checkpoint = torch.load(
                file, map_location=map_location, weights_only=not trust
            )
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # a damaged pickle can fail with any type
            raise ConfigError(f"checkpoint {path}: {_reason(file, error)}") from error
    if not isinstance(checkpoint, dict):
        raise ConfigError(
            f"checkpoint {path}: expected a dict, got {type(checkpoint).__name__}"
        )
    return _without_config(checkpoint)


def use_safe_loading(trust: bool = False) -> None:
    """Make MMEngine load checkpoints as `load_checkpoint_file` does, from now on.

    Covers `load_from`, `resume` and pretrained weights, from files and URLs. Calls of
    `torch.load` elsewhere in the process are held to `weights_only=True` by PyTorch's
    environment variable.

    Args:
        trust: Undo the restriction: files may run code.
    """
    os.environ.pop(FORCE_UNSAFE, None)
    if trust:
        os.environ.pop(FORCE_SAFE, None)
    else:
        os.environ[FORCE_SAFE] = "1"
        serialization.add_safe_globals(_ALLOWED)

    # MMEngine prints these functions' names from the eleventh letter on.
    def load_from_local(filename: str, map_location: Any = None) -> dict:
        return load_checkpoint_file(filename, map_location, trust)

    def load_from_http(filename: str, map_location: Any = None) -> dict:
        return load_checkpoint_file(_download(filename), map_location, trust)

    register = mmengine_checkpoint.CheckpointLoader.register_scheme
    register("", load_from_local, force=True)
    register(("http://", "https://"), load_from_http, force=True)
    for prefixes, loader in (
        (("modelzoo://", "torchvision://"), mmengine_checkpoint.load_from_torchvision),
        (("open-mmlab://", "openmmlab://"), mmengine_checkpoint.load_from_openmmlab),
        ("mmcls://", mmengine_checkpoint.load_from_mmcls),
        ("pavi://", mmengine_checkpoint.load_from_pavi),
        ((r"(\S+\:)?s3://", r"(\S+\:)?petrel://"), mmengine_checkpoint.load_from_ceph),
    ):
        register(prefixes, _dropping_config(loader), force=True)


def _statistic(owner: object, name: str) -> Callable:
    """Stand in for `getattr`, by which `HistoryBuffer` pickles its own methods."""
    if owner is HistoryBuffer and name in STATISTICS:
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f"GLOBAL builtins.getattr of {owner!r}, {name!r}")


def _named(function: Callable, path: str) -> Callable:
    """Return `function` under the name that a pickle has for it.

    PyTorch takes (function, name) pairs too, but not in every version we support.
    """
    alias = functools.partial(function)
    alias.__module__, alias.__qualname__ = path.rsplit(".", 1)
    alias.__name__ = alias.__qualname__
    return alias


def _allow_list() -> list[Callable]:
    numpy_core = getattr(np, "_core", None) or np.core
    multiarray = numpy_core.multiarray
    # Not the class of the object dtype: with a forged state it reads raw pointers.
    codes = ("?", "u1", "i4", "u4", "i8", "f4", "f8")
    number_types = [type(np.dtype(code)) for code in codes]
    return [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        *number_types,
        *(
            _named(getattr(multiarray, name), f"{module}.{name}")
            for name in ("_reconstruct", "scalar")
            # NumPy 1 and 2 write different names
            for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        ),
        _named(_statistic, "builtins.getattr"),
        _named(_statistic, "__builtin__.getattr"),
    ]


_ALLOWED = _allow_list()


@contextmanager
def _allowed_types() -> Iterator[None]:
    before = serialization.get_safe_globals()
    serialization.add_safe_globals(_ALLOWED)
    try:
        yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(before)


def _reason(file: Path, error: Exception) -> str:
    """Say in one line why `file` could not be loaded."""
    if isinstance(error, pickle.UnpicklingError):
        names = _refused_types(file, error)
        if names or zipfile.is_zipfile(file):
            what = ", ".join(names) or "something other than plain data"
            return (
                f"refused: it names {what}, and loading that may run code; "
                "if you trust the file, pass --trust-checkpoint"
            )
    if isinstance(error, RuntimeError):
        return f"not a PyTorch checkpoint ({str(error).split('. ')[0]})"
    return "not a PyTorch checkpoint"


def _refused_types(file: Path, error: Exception) -> list[str]:
    # PyTorch 2.5 and newer list all names, the message has the first only.
    list_names = getattr(serialization, "get_unsafe_globals_in_checkpoint", None)
    if list_names is not None and zipfile.is_zipfile(file):
        try:
            names = list_names(file)
        except Exception:  # a pickle that PyTorch cannot take apart
            names = []
        if names:
            return sorted(names)
    return re.findall(r"GLOBAL ([\w.]+)", str(error))


def _without_config(checkpoint: dict) -> dict:
    if isinstance(checkpoint.get("meta"), dict):
        checkpoint["meta"].pop("config", None)
    return checkpoint


def _dropping_config(loader: Callable) -> Callable:
    @functools.wraps(loader)
    def load(filename: str, map_location: Any = None) -> dict:
        return _without_config(loader(filename, map_location))

    return load


def _download(url: str) -> Path:
    """Fetch `url` into PyTorch's hub folder, once for all processes."""
    file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)
    rank, _ = get_dist_info()
    for turn in (True, False):
        if turn == (rank == 0) and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), progress=os.isatty(0))
        if turn:
            barrier()  # machines with a folder of their own download after rank 0
    return file
