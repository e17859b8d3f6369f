"""What the tools look at before any work starts: files and folders."""

import os
import re
from collections.abc import Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS

from ..checkpoint import load_checkpoint_file
from ..registry import SCOPE
from ..utils.config import datasets_of, registered_class
from ..utils.errors import ConfigError
from .resuming import check_training
from .work_dir import check_file

NOT_ITS_OWN = ("_scope_", "priority", "type")  # of a hook's options, MMEngine's


def check_data_paths(cfg: Config, which: Sequence[str] = ("train", "val")) -> None:
    """Check that the local files and folders which the data sets name are there.

    Data sets that need no files (embedded or downloaded ones) and remote paths pass.
    A data set is taken to download its files if its class has an argument `download`
    that is true, or to read them from its folder if it has no `ann_file`.

    Args:
        cfg (Config): The whole config.
        which (Sequence[str]): The loaders to check, of `train`, `val` and `test`.
            Default: ('train', 'val').

    Raises:
        ConfigError: If a path does not exist, naming its key in the config.
    """
    for name in which:
        loader = cfg.get(f"{name}_dataloader") or {}
        outer = loader.get("dataset")
        for key, dataset in datasets_of(outer, f"{name}_dataloader.dataset"):
            _check_dataset(key, dataset, cfg.get("default_scope"))
        evaluator = cfg.get(f"{name}_evaluator")
        listed = isinstance(evaluator, list | tuple)
        for i, metric in enumerate(evaluator if listed else [evaluator]):
            if isinstance(metric, dict) and not is_remote(metric):
                key = f"{name}_evaluator.{i}" if listed else f"{name}_evaluator"
                ann_file = metric.get("ann_file")
                _check(f"{key}.ann_file", ann_file, f"{key}.ann_file=FILE")


def build_hooks(cfg: Config) -> list[Hook]:
    """Build those of a config's hooks that are ours: they check their arguments.

    Others may need a runner.

    Args:
        cfg (Config): The whole config.

    Returns:
        Ours of `default_hooks` and of `custom_hooks`.

    Raises:
        ConfigError: One cannot be built, naming its key in the config.
    """
    default = cfg.get("default_hooks") or {}
    listed = {f"default_hooks.{name}": hook for name, hook in default.items()}
    listed |= {
        f"custom_hooks.{i}": hook
        for i, hook in enumerate(cfg.get("custom_hooks") or [])
    }
    hooks, scope = [], cfg.get("default_scope")
    for key, hook in listed.items():
        kind = hook.get("type") if isinstance(hook, dict) else None
        kind = kind and registered_class(kind, HOOKS, scope)
        if kind and kind.__module__.startswith(f"{SCOPE}."):
            options = {name: hook[name] for name in hook if name not in NOT_ITS_OWN}
            try:
                hooks.append(kind(**options))
            except (TypeError, ValueError) as error:
                raise ConfigError(f"{key}: {error}") from error
    return hooks


def check_checkpoint_path(path: str | None) -> None:
    """Check that a checkpoint is there, if its path is local.

    Raises:
        ConfigError: If it is not.
    """
    if path and is_missing(path):
        raise ConfigError(f"checkpoint {path}: there is no such file")


def check_target(target: Path, *sources: Path) -> None:
    """Check that a converted file can be written.

    Raises:
        ConfigError: There is no such folder, or it cannot be written to, or `target`
            is a folder or a source.
    """
    if not target.parent.is_dir():
        raise ConfigError(f"target {target}: there is no folder {target.parent}")
    taken = [source.resolve() for source in sources]
    if target.is_dir() or target.resolve() in taken:
        raise ConfigError(f"target {target}: a file that is not the source is accepted")
    check_file("target", target)


def check_resumable(path: str, trust: bool = False, optimizer: bool = True) -> None:
    """Check that a local checkpoint holds a training to go on with.

    Args:
        path (str): The checkpoint.
        trust (bool): As in `load_checkpoint_file`. Default: False.
        optimizer (bool): As in `check_training`. Default: True.

    Raises:
        ConfigError: If it is not there, is refused, holds weights alone, or does not
            say how far the training is.
    """
    check_checkpoint_path(path)
    if os.path.exists(path):  # no URL
        checkpoint = load_checkpoint_file(path, trust=trust)
        check_training(checkpoint, f"--resume {path}", optimizer)


def _check_dataset(key: str, dataset: ConfigDict, scope: str | None) -> None:
    if is_remote(dataset):
        return
    root = dataset.get("data_root") or ""
    ann_file = dataset.get("ann_file")
    if not isinstance(root, str) or not isinstance(ann_file, str | None):
        return
    if ann_file:
        advice = f"{key}.data_root=FOLDER"
        if os.path.isabs(ann_file):
            advice = f"{key}.ann_file=FILE"
        _check(f"{key}.ann_file", os.path.join(root, ann_file), advice)
    if any(is_remote(step) for step in dataset.get("pipeline") or []):
        return
    prefix, how_to_get = dataset.get("data_prefix") or "", ""
    if not ann_file:
        if not (root or prefix):  # embedded
            return
        kind = registered_class(dataset.get("type"), DATASETS, scope)
        if kind is None or dataset.get("download", downloads(kind)):
            return
        how_to_get = getattr(kind, "HOW_TO_GET", "")
        if not how_to_get and _download_option(kind):
            how_to_get = f"{key}.download=True, and so for other loaders, downloads it"
        how_to_get = how_to_get and f"; {how_to_get}"
    named = isinstance(prefix, dict)
    for name, folder in prefix.items() if named else [(None, prefix)]:
        if not isinstance(folder, str) or (ann_file and not folder):
            continue
        prefix_key = f"{key}.data_prefix.{name}" if named else f"{key}.data_prefix"
        if not folder:
            prefix_key = f"{key}.data_root"
        advice = f"{key}.data_root" if root else prefix_key
        path = os.path.join(root, folder) if folder else root
        _check(prefix_key, path, f"{advice}=FOLDER{how_to_get}")


def downloads(kind: type) -> bool:
    """Whether a data set downloads its files unless it is told not to."""
    option = _download_option(kind)
    return option is not None and option.default is True


def _download_option(kind: type) -> Parameter | None:
    constructors = (vars(cls).get("__init__") for cls in kind.__mro__)
    options = (signature(init).parameters for init in constructors if init)
    return next((o["download"] for o in options if "download" in o), None)


def _check(key: str, path: Any, advice: str) -> None:
    if isinstance(path, str) and path and is_missing(path):
        raise ConfigError(
            f"{key}: {path!r} does not exist; say where the data is with "
            f"--cfg-options {advice}"
        )


def has_scheme(path: str) -> bool:
    """Whether a path is a URL or names a storage; one letter would be a drive."""
    return re.match(r"[\w+.-]{2,}:", path) is not None


def is_missing(path: str) -> bool:
    """Whether a local path does not exist."""
    if has_scheme(path):
        return False
    return not (os.path.exists(path) or os.path.exists(os.path.expanduser(path)))


def is_remote(cfg: Any) -> bool:
    """Whether a data set or transform reads from a storage other than the disk."""
    if not isinstance(cfg, dict):
        return False
    backend = cfg.get("backend_args") or cfg.get("file_client_args") or {}
    return backend.get("backend", "local") not in ("local", "disk")
