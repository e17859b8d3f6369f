"""What the tools look at before any work starts: files, folders, sizes."""

import os
import re
import warnings
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import DATASETS, OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.runner import CheckpointLoader, Runner
from torch import nn
from torch.optim import Optimizer

from ..checkpoint import load_checkpoint_file
from ..layers import SPEM, DynamicConv2d
from ..models import detector
from ..pooling import SelfAttentivePool2d
from ..utils.config import datasets_of, registered_class, type_name
from ..utils.errors import ConfigError
from .resuming import check_training
from .spem import SPEMOptimWrapperConstructor, group_of, penalized_layers


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
        ConfigError: There is no such folder, or `target` is a folder or a source.
    """
    if not target.parent.is_dir():
        raise ConfigError(f"target {target}: there is no folder {target.parent}")
    taken = [source.resolve() for source in sources]
    if target.is_dir() or target.resolve() in taken:
        raise ConfigError(f"target {target}: a file that is not the source is accepted")


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
        if how_to_get := getattr(kind, "HOW_TO_GET", ""):
            how_to_get = f"; {how_to_get}"
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
    for cls in kind.__mro__:
        if "__init__" in vars(cls):
            option = signature(cls.__init__).parameters.get("download")
            if option is not None:
                return option.default is True
    return False


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


def check_pretrained(runner: Runner) -> None:
    """Check that the pretrained weights that a config names are of its network.

    MMEngine initialises with what matches, and logs the rest: a ResNet-50 would start
    from a few layers of a ResNet-18.

    Raises:
        ConfigError: An entry has another shape than in the network, or none matches.
    """
    model = model_of(runner)
    backbone = getattr(model, "backbone", None)
    for name, part in (("model", model), ("model.backbone", backbone)):
        init_cfg = getattr(part, "init_cfg", None)
        if type_name(init_cfg) == "Pretrained":
            _check_weights(init_cfg, f"{name}.init_cfg", part)


def _check_weights(init_cfg: dict, name: str, part: nn.Module) -> None:
    path, prefix = init_cfg["checkpoint"], init_cfg.get("prefix") or ""
    prefix = prefix.rstrip(".") + "." if prefix else ""
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location="cpu")
    given = {
        key.removeprefix("module.").removeprefix(prefix): tensor.shape
        for key, tensor in checkpoint.get("state_dict", checkpoint).items()
        if key.removeprefix("module.").startswith(prefix)
        and isinstance(tensor, torch.Tensor)
    }
    expected = {key: tensor.shape for key, tensor in part.state_dict().items()}
    wrong = []
    for key in expected.keys() & given.keys():
        owner = part.get_submodule(key.rpartition(".")[0])
        accepted = [expected[key]]
        if isinstance(owner, DynamicConv2d):  # takes a plain convolution's too
            accepted.append(expected[key][1:])
        if given[key] not in accepted:
            wrong.append(key)
    advice = f"weights of this network are expected, or {name}=None"
    if not expected.keys() & given.keys():
        raise ConfigError(
            f"{name}.checkpoint={path!r}: none of its {len(given)} entries is of this "
            f"network; {advice}"
        )
    if wrong:
        key = min(wrong)
        raise ConfigError(
            f"{name}.checkpoint={path!r}: {len(wrong)} entries have another shape than "
            f"in this network, such as {key}, {tuple(given[key])} and here "
            f"{tuple(expected[key])}; {advice}"
        )


def model_of(runner: Runner) -> nn.Module | None:
    """The model without its wrappers; None if the runner's strategy builds it later."""
    model = runner.model
    if not isinstance(model, nn.Module):
        return None
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def check_patches(runner: Runner) -> None:
    """Send the first training image through the backbone.

    A self-attentive pool whose patch is larger than its map works, on one token, but
    it is hardly what was meant: here it is an error, in the layer a warning, which
    training would show in its first iteration.

    Raises:
        ConfigError: If a patch is larger than the map that it gets.
    """
    model = model_of(runner)
    backbone = getattr(model, "backbone", None)
    if backbone is None or not any(
        isinstance(m, SelfAttentivePool2d) for m in backbone.modules()
    ):
        return
    data = pseudo_collate([runner.train_dataloader.dataset[0]])
    images = model.data_preprocessor(data, False)["inputs"]
    training = model.training
    model.eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("error", message="patch_size=.* is larger than")
        try:
            backbone(images)
        except UserWarning as warning:
            size = "x".join(map(str, images.shape[-2:]))
            raise ConfigError(f"on an image of {size}: {warning}") from warning
    model.train(training)


def check_detector(runner: Runner) -> None:
    """Check that the neck and the heads of a detector fit its backbone.

    Other models pass.

    Raises:
        ConfigError: As in `attnpool_mm.models.detector.check_detector`.
    """
    detector.check_detector(model_of(runner))


def check_spem(runner: Runner) -> None:
    """Warn, in the log, of a training that leaves SPEM's penalty out.

    It is a part of the method, and lives in the optimizer: a config with SPEM and
    without the constructor trains another network than the paper's.
    """
    model = model_of(runner)
    layers = penalized_layers(model) if model is not None else []
    if layers and not _penalizes(runner.optim_wrapper, layers):
        runner.logger.warning(
            f"{len(layers)} SPEM layers have alpha > 0, but their penalty is not in "
            "this training; to add it, in the config: "
            "optim_wrapper=dict(constructor='attnpool_mm.SPEMOptimWrapperConstructor') "
            "(alpha=0 in the layers says that it is not wanted)"
        )


def _penalizes(optim_wrapper: Any, layers: Sequence[SPEM]) -> bool:
    """Whether the optimizer decays the `p` of the layers, or will when it is built."""
    optimizer = getattr(optim_wrapper, "optimizer", None)
    if isinstance(optim_wrapper, dict):
        optimizer = optim_wrapper.get("optimizer")
        constructor = registered_class(
            optim_wrapper.get("constructor"), OPTIM_WRAPPER_CONSTRUCTORS
        )
        if constructor and issubclass(constructor, SPEMOptimWrapperConstructor):
            return True
    if not isinstance(optimizer, Optimizer):
        return False
    groups = [group_of(optimizer, layer.p) or {} for layer in layers]
    return all(
        group.get("weight_decay", 0) >= 2 * layer.alpha
        for group, layer in zip(groups, layers, strict=True)
    )
