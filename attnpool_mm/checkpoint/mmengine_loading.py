"""MMEngine's loading of checkpoints, from files and URLs, made ours."""

import io
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.fileio import get_file_backend
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from ..utils.errors import ConfigError
from .loading import FORCE_SAFE, load_checkpoint_file, load_stream

FORCE_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
WEB = ("http://", "https://")


def use_safe_loading(
    trust: bool = False,
    work_dir: str | os.PathLike | None = None,
    torch_load: bool = True,
) -> None:
    """Make MMEngine load checkpoints as `load_checkpoint_file` does, from now on.

    Covers whatever goes through MMEngine, in MMPretrain and MMDetection too:
    `load_from`, `resume`, pretrained weights, `get_model`, the inferencers; from
    files, URLs and names such as `torchvision://resnet18`. Importing
    `attnpool_mm.apis` calls it, without `torch_load`.

    Args:
        trust (bool): Undo the restriction: files may run code. Default: False.
        work_dir (str | os.PathLike | None): The folder of the run that is resumed, as
            in `load_checkpoint_file`. Default: None.
        torch_load (bool): Hold calls of `torch.load` elsewhere in the process, and in
            its children, to `weights_only=True`, by PyTorch's environment variable.
            Default: True.

    Example:
        >>> from mmengine.runner import CheckpointLoader
        >>> use_safe_loading(torch_load=False)
        >>> torch.save({"weight": torch.ones(2)}, "weights.pth")
        >>> CheckpointLoader.load_checkpoint("weights.pth", logger="silent")
        {'weight': tensor([1., 1.])}
    """
    if torch_load or trust:
        os.environ.pop(FORCE_UNSAFE, None)
        os.environ.pop(FORCE_SAFE, None)
        if not trust:
            os.environ[FORCE_SAFE] = "1"

    # MMEngine prints these functions' names from the eleventh letter on.
    def load_from_local(filename: str, map_location: Any = None) -> dict:
        return load_checkpoint_file(filename, map_location, trust, work_dir)

    def load_from_http(filename: str, map_location: Any = None, **_: Any) -> dict:
        return load_from_local(_download(filename), map_location)

    def load_from_torchvision(filename: str, map_location: Any = None) -> dict:
        known = mmengine_checkpoint.get_torchvision_models()
        return load_from_http(_known(filename, known), map_location)

    def load_from_mmcls(filename: str, map_location: Any = None) -> dict:
        known = mmengine_checkpoint.get_mmcls_models()
        checkpoint = load_from_http(_known(filename, known), map_location)
        return mmengine_checkpoint._process_mmcls_checkpoint(checkpoint)

    def load_from_openmmlab(filename: str, map_location: Any = None) -> dict:
        known = mmengine_checkpoint.get_external_models()
        renamed = mmengine_checkpoint.get_deprecated_model_names()
        known |= {old: known[new] for old, new in renamed.items() if new in known}
        place = _known(filename, known)
        if place.startswith(WEB):
            return load_from_http(place, map_location)
        folder = mmengine_checkpoint._get_mmengine_home()
        return load_from_local(os.path.join(folder, place), map_location)

    def load_from_ceph(filename: str, map_location: Any = None) -> dict:
        backend = get_file_backend(filename, backend_args={"backend": "petrel"})
        with io.BytesIO(backend.get(filename)) as stream:
            return load_stream(stream, filename, map_location, trust, work_dir)

    def load_from_pavi(filename: str, map_location: Any = None) -> dict:
        raise ConfigError(
            f"checkpoint {filename}: pavi:// is not loaded as data; download the file, "
            "and name it"
        )

    for prefixes, loader in (
        ("", load_from_local),
        (WEB, load_from_http),
        (("modelzoo://", "torchvision://"), load_from_torchvision),
        (("open-mmlab://", "openmmlab://"), load_from_openmmlab),
        ("mmcls://", load_from_mmcls),
        ("pavi://", load_from_pavi),
        ((r"(\S+\:)?s3://", r"(\S+\:)?petrel://"), load_from_ceph),
    ):
        CheckpointLoader.register_scheme(prefixes, loader, force=True)


def loading_is_chosen() -> bool:
    """Whether `use_safe_loading` was called, with or without `trust`."""
    return CheckpointLoader._get_checkpoint_loader("").__module__ == __name__


def _known(filename: str, known: dict[str, str]) -> str:
    """Where the weights of a name such as `torchvision://resnet18` are."""
    scheme, _, name = filename.partition("://")
    if name not in known:
        raise ConfigError(
            f"checkpoint {filename}: {scheme} has no weights of the name {name!r}"
        )
    return known[name]


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
