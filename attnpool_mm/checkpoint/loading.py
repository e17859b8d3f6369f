"""Loading checkpoints as data.

A checkpoint is a pickle, and an ordinary unpickler calls whatever the file names.
Here a file can hold tensors, plain containers and numbers, NumPy arrays of numbers
and MMEngine's `HistoryBuffer`; a file that names anything else is refused. PyTorch's
`weights_only=True` is not enough: it allows `torch.Tensor(10**12)`, tensors beyond
the end of their storage and compressed files, all with arguments of the file's choice.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from mmengine.logging import print_log

from ..utils.errors import ConfigError
from .archive import NotACheckpointError, read_checkpoint
from .contents import OddContentsError, check_contents, check_plain
from .pickled import RefusedError

MAX_NAMES = 10  # that an error lists
FORCE_SAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


class CheckpointNotFoundError(ConfigError, FileNotFoundError):
    """A checkpoint file is not there."""


def load_checkpoint_file(
    path: str | os.PathLike,
    map_location: Any = "cpu",
    trust: bool = False,
    work_dir: str | os.PathLike | None = None,
) -> dict:
    """Load a checkpoint as data: no code runs, no memory but its own is read.

    What MMEngine would act on is left out: the texts of configs (`cfg` and `config` in
    `meta` and in the training's state), which it evaluates as Python, and paths in the
    training's state, which it deletes; `dataset_meta`, the names of the classes, stays.

    Args:
        path (str | os.PathLike): The file.
        map_location (Any): Where the tensors go: a device, or None for the CPU; a
            function or a dict as in `torch.load`. Default: 'cpu'.
        trust (bool): Unpickle whatever the file names, which runs the code it names,
            and leave nothing out. Default: False.
        work_dir (str | os.PathLike | None): The folder of the run that goes on from the
            file: paths that lie in there stay, with a warning of those that do not.
            Default: None.

    Raises:
        CheckpointNotFoundError: If there is no such file.
        ConfigError: If the file is no checkpoint, is damaged, names a type that is
            refused, or has something else where MMEngine has a certain type.

    Example:
        >>> torch.save({"state_dict": {"weight": torch.ones(2)}}, "epoch_1.pth")
        >>> load_checkpoint_file("epoch_1.pth")["state_dict"]["weight"]
        tensor([1., 1.])
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise CheckpointNotFoundError(f"checkpoint {path}: there is no such file")
    with open_file(file, str(path)) as stream:
        return load_stream(stream, str(path), map_location, trust, work_dir)


def load_stream(
    stream: BinaryIO,
    name: str,
    map_location: Any = "cpu",
    trust: bool = False,
    work_dir: str | os.PathLike | None = None,
) -> dict:
    """Load a checkpoint from an open file.

    Args:
        stream (BinaryIO): The file, at its start; it can be sought in.
        name (str): What errors call it.
        map_location (Any): As in `load_checkpoint_file`. Default: 'cpu'.
        trust (bool): As in `load_checkpoint_file`. Default: False.
        work_dir (str | os.PathLike | None): As in `load_checkpoint_file`. Default:
            None.

    Raises:
        ConfigError: As in `load_checkpoint_file`.
    """
    _check_place(map_location)
    try:
        if trust:
            checkpoint = _unpickled(stream, map_location)
        else:
            checkpoint = read_checkpoint(stream, map_location)
            check_plain(checkpoint)
        if not isinstance(checkpoint, dict):
            raise OddContentsError(f"expected a dict, got {type(checkpoint).__name__}")
        dropped = {} if trust else check_contents(checkpoint, work_dir)
    except RefusedError as error:
        raise ConfigError(f"checkpoint {name}: {_refusal(error)}") from error
    except (NotACheckpointError, OddContentsError) as error:
        raise ConfigError(f"checkpoint {name}: {error}") from error
    if dropped and work_dir is not None:
        paths = ", ".join(f"{key}={path}" for key, path in dropped.items())
        print_log(
            f"checkpoint {name}: left out {paths}; a path is taken only if it lies in "
            f"the folder of the run, {work_dir}",
            logger="current",
            level=logging.WARNING,
        )
    return checkpoint


def _check_place(map_location: Any) -> None:
    if isinstance(map_location, str | torch.device):
        try:
            torch.empty(0, device=map_location)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"map_location={map_location!r}: {reason}") from error


def _refusal(error: RefusedError) -> str:
    reason = str(error)
    if error.names:
        shown = [ascii(name)[1:-1][:100] for name in error.names[:MAX_NAMES]]
        rest = len(error.names) - MAX_NAMES
        if rest > 0:
            shown.append(f"{rest} more")
        reason = f"it names {', '.join(shown)}, and loading that may run code"
    return f"refused: {reason}; if you trust the file, pass --trust-checkpoint"


@contextmanager
def open_file(file: Path, name: str) -> Iterator[BinaryIO]:
    """Open a file; an error is one line."""
    try:
        stream = file.open("rb")
    except OSError as error:
        raise ConfigError(f"checkpoint {name}: {error.strerror}") from error
    with stream:
        yield stream


def _unpickled(stream: BinaryIO, map_location: Any) -> Any:
    forced = os.environ.pop(FORCE_SAFE, None)  # by `use_safe_loading`
    try:
        return torch.load(stream, map_location, weights_only=False)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # a damaged pickle can fail with any type
        reason = str(error).split(". ")[0].partition("\n")[0]
        raise NotACheckpointError(f"not a PyTorch checkpoint ({reason})") from error
    finally:
        if forced is not None:
            os.environ[FORCE_SAFE] = forced
