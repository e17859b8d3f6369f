"""What is in a checkpoint: the layout that MMEngine writes, and what is left out.

MMEngine takes some of a checkpoint at its word: it evaluates configuration texts as
Python, and deletes the file or folder that `best_ckpt` names when a better score
comes. So the texts go, and paths stay only where they are in the run's own folder.
"""

import os
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

from .pickled import RefusedError

MAX_DEPTH = 100
MAX_NAME = 1000
MAX_OBJECTS = 1_000_000
MAX_LETTERS = 2**26  # of all texts and keys
MAX_SHOWN = 200
CONTAINERS = (dict, OrderedDict, Counter, list, tuple, set)
LEAVES = (
    *(type(None), bool, int, float, complex, str, bytes),
    *(Tensor, nn.Parameter, np.ndarray, HistoryBuffer),
    *(torch.Size, torch.dtype, torch.device),
)
CONFIG_TEXTS = ("cfg", "config")
PATHS = re.compile(r"(best|last)_ckpt(_.*)?")
STATE_DICTS = ("state_dict", "ema_state_dict")
EXTRA_STATE = "_extra_state"  # what a PyTorch module may add, of any type


class OddContentsError(ValueError):
    """A checkpoint has something of a kind that MMEngine does not write there."""


def check_plain(value: Any) -> None:
    """Check that an object consists of plain data, of a bounded size and depth.

    An object that is in it more than once counts each time, as it does for those who
    copy or print it.

    Raises:
        RefusedError: It does not.
    """
    waiting, objects, letters = [(value, 0)], 1, 0
    while waiting:
        item, depth = waiting.pop()
        if type(item) in CONTAINERS:
            inner = _values(item)
            # Before they wait: a list may have itself in it a million times
            objects += len(inner)
            if objects > MAX_OBJECTS or depth >= MAX_DEPTH:
                raise RefusedError("it is nested without end, or too deeply")
            waiting += ((value, depth + 1) for value in inner)
            if isinstance(item, dict):
                letters += sum(len(key) for key in item if type(key) is str)
        elif type(item) in (str, bytes):
            letters += len(item)
        elif type(item) not in LEAVES and not isinstance(item, np.generic):
            raise RefusedError(f"it has a {type(item).__name__} where data should be")
        if letters > MAX_LETTERS:
            raise RefusedError("its texts are too long")


def _values(container: Any) -> list:
    if not isinstance(container, dict):
        return list(container)
    metadata = [container._metadata] if hasattr(container, "_metadata") else []
    return [*container.values(), *metadata]


def check_contents(
    checkpoint: Any, work_dir: str | os.PathLike | None = None
) -> dict[str, str]:
    """Check a loaded checkpoint's layout; drop texts and foreign paths from it.

    Args:
        checkpoint (Any): What the file holds; it is changed.
        work_dir (str | os.PathLike | None): The folder of the run that goes on from it.
            A path in the training's state is kept if it lies in there; None keeps none.
            Default: None.

    Returns:
        The paths that were dropped, under their names.

    Raises:
        OddContentsError: A part of it is not of the kind that MMEngine expects.
    """
    _expect(checkpoint, dict, "the file")
    _check_names(checkpoint, "the file", shown=True)  # it may be a state dict itself
    for name in STATE_DICTS:
        if name in checkpoint:
            _check_state_dict(checkpoint[name], name)
    for name in ("meta", "message_hub"):
        if checkpoint.get(name) is None:
            checkpoint.pop(name, None)
        else:
            _expect(checkpoint[name], dict, name)
            _check_names(checkpoint[name], name)
    if "optimizer" in checkpoint:
        _expect(checkpoint["optimizer"], dict, "optimizer")
    _check_meta(checkpoint.get("meta", {}))
    _check_hub(checkpoint.get("message_hub", {}))
    _drop_texts(checkpoint)
    return _drop_paths(checkpoint.get("message_hub", {}), work_dir)


def _check_state_dict(state_dict: Any, name: str) -> None:
    _expect(state_dict, dict, name)
    _check_names(state_dict, name, shown=True)
    for key, value in state_dict.items():
        if not isinstance(value, Tensor) and not key.endswith(EXTRA_STATE):
            raise OddContentsError(
                f"{name}: {key} is a {type(value).__name__}, a tensor is expected"
            )


def _check_meta(meta: dict) -> None:
    dataset = meta.get("dataset_meta")
    if dataset is not None:
        _expect(dataset, dict, "meta.dataset_meta")
        _check_names(dataset, "meta.dataset_meta")
    else:
        meta.pop("dataset_meta", None)
    for name, owner, key in (
        ("meta.CLASSES", meta, "CLASSES"),
        ("meta.dataset_meta.classes", dataset or {}, "classes"),
    ):
        if owner.get(key) is not None:
            _expect(owner[key], (list, tuple), name)
            if not all(type(entry) is str for entry in owner[key]):
                raise OddContentsError(f"{name}: a list of names is expected")


def _check_hub(hub: dict) -> None:
    for name in ("log_scalars", "runtime_info", "resumed_keys"):
        _expect(hub.get(name, {}), dict, f"message_hub.{name}")
        _check_names(hub.get(name, {}), f"message_hub.{name}")
    info = hub.get("runtime_info", {})
    for key, value in info.items():
        if key.startswith("best_score") and not _is_number(value):
            raise OddContentsError(
                f"message_hub.runtime_info.{_shown(key)[1:-1]} is a "
                f"{type(value).__name__}, a number is expected"
            )
    steps = info.get("keep_ckpt_ids", [])
    _expect(steps, list, "message_hub.runtime_info.keep_ckpt_ids")
    if not all(type(step) is int and step >= 0 for step in steps):
        raise OddContentsError(
            "message_hub.runtime_info.keep_ckpt_ids: epochs or iterations are expected"
        )


def _drop_texts(checkpoint: dict) -> None:
    hub = checkpoint.get("message_hub", {})
    owners = [checkpoint.get("meta", {}), hub]
    owners += [hub.get(name, {}) for name in ("runtime_info", "resumed_keys")]
    for name in CONFIG_TEXTS:
        if isinstance(checkpoint.get(name), str | bytes):
            del checkpoint[name]
        for owner in owners:
            owner.pop(name, None)


def _drop_paths(hub: dict, work_dir: str | os.PathLike | None) -> dict[str, str]:
    info, dropped = hub.get("runtime_info", {}), {}
    for key, value in list(info.items()):
        if _names_path(key, value) and not _is_own(key, value, work_dir):
            del info[key]
            hub.get("resumed_keys", {}).pop(key, None)
            if value is not None:
                dropped[key] = _shown(value)
    return dropped


def _shown(value: Any) -> str:
    """A text as Python writes it, its start alone; of anything else its type."""
    if type(value) not in (str, bytes):
        return f"a {type(value).__name__}"
    return ascii(value[:MAX_SHOWN])[:MAX_SHOWN]


def _names_path(key: str, value: Any) -> bool:
    if PATHS.fullmatch(key):
        return True
    return type(value) in (str, bytes) and bool(re.search(r"[/\\]", str(value)))


def _is_own(key: str, value: Any, work_dir: str | os.PathLike | None) -> bool:
    """Whether a path lies in the run's folder, links followed.

    What may be deleted must also have the name that MMEngine gives it.
    """
    if type(value) is not str or work_dir is None or "\0" in value:
        return False
    try:
        path, folder = Path(value).resolve(), Path(work_dir).resolve()
    except (OSError, RuntimeError):  # a name that is too long, a loop of links
        return False
    named = path.name.startswith("best_") or not key.startswith("best_ckpt")
    return folder in path.parents and named


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _expect(value: Any, kind: type | tuple[type, ...], name: str) -> None:
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        expected = " or ".join(one.__name__ for one in kinds)
        raise OddContentsError(
            f"{name} is a {type(value).__name__}, a {expected} is expected"
        )


def _check_names(names: Iterable[Any], what: str, shown: bool = False) -> None:
    for name in names:
        if type(name) is not str or (shown and not _can_be_shown(name)):
            raise OddContentsError(
                f"{what} has the key {name!a:.50}, a name is expected"
            )


def _can_be_shown(name: str) -> bool:
    """Whether a terminal shows a name as it is; tools print those of weights."""
    return name.isprintable() and len(name) <= MAX_NAME
