"""MMEngine's loading of checkpoints, from files and URLs, made ours."""

import io
import os
import re
from hashlib import sha256
from http.client import HTTPException
from logging import WARNING
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen
from uuid import uuid4

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.fileio import get_file_backend
from mmengine.logging import print_log
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from ..utils.errors import ConfigError
from .loading import FORCE_SAFE, load_checkpoint_file, load_stream

FORCE_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
WEB = ("http://", "https://")
# At the end of names such as resnet50-11ad3fa6.pth
DIGEST = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
URL_DIGITS = 16
SECONDS = 60  # without a byte, until a server counts as lost
PART = 2**17  # bytes


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
    rank, _ = get_dist_info()
    for turn in (True, False):
        if turn == (rank == 0) and _downloaded(url) is None:
            _fetch_or_fall_back(url)
        if turn:
            barrier()  # machines with a folder of their own download after rank 0
    return _downloaded(url) or _shared_place(url)


def _fetch_or_fall_back(url: str) -> None:
    """Fetch `url`, or leave it at a file of that name that was there before.

    Raises:
        ConfigError: It cannot be fetched, and there is none.
    """
    try:
        _fetch(url)
    except (OSError, HTTPException, ValueError) as error:
        reason = f"{' '.join(str(error).split()) or type(error).__name__:.200}"
        said = f"checkpoint {url}: a download failed ({reason})"
        if _shared_place(url).is_file():
            print_log(f"{said}; taken: {_shared_place(url)}", "current", WARNING)
            return
        raise ConfigError(f"{said}; the path of a file is accepted, too") from error


def _shared_place(url: str) -> Path:
    """Where `torch.hub` and MMEngine look for a download, by its mere name."""
    try:
        name = Path(urlparse(url).path).name or "checkpoint"
    except ValueError as error:
        raise ConfigError(f"checkpoint {url}: a download failed ({error})") from error
    return Path(torch.hub.get_dir(), "checkpoints", name)


def _own_place(url: str) -> Path:
    """Where a download lies whose name does not say its content.

    There is such a name on every server, so each URL has a folder.
    """
    shared = _shared_place(url)
    return shared.parent / sha256(url.encode()).hexdigest()[:URL_DIGITS] / shared.name


def _downloaded(url: str) -> Path | None:
    """The whole file that a URL stands for, if it was fetched before."""
    shared, own = _shared_place(url), _own_place(url)
    if shared.is_file() and _is_as_named(shared, shared.name):
        return shared
    return own if own.is_file() else None


def _is_as_named(file: Path, name: str) -> bool:
    """Whether a file has the SHA-256 that its name ends in, as published weights do."""
    named = DIGEST.search(name)
    if not named:
        return False
    found = sha256()
    with file.open("rb") as stream:
        while part := stream.read(PART):
            found.update(part)
    return found.hexdigest().startswith(named[1])


def _fetch(url: str) -> None:
    """Download a file; what does not come whole leaves nothing.

    `torch.hub.download_url_to_file` takes a lost connection for the end of the file. A
    file with the digest in its name lies where it looks for it, too. Some published
    names have a digest of something else.

    Raises:
        OSError: The download failed, or was cut short.
        HTTPException: The server does not speak HTTP.
        ValueError: The URL is none.
    """
    shared, own = _shared_place(url), _own_place(url)
    request = Request(url, headers={"User-Agent": "torch.hub"})  # as `torch.hub` does
    shared.parent.mkdir(parents=True, exist_ok=True)
    partial = shared.with_name(f"{uuid4().hex}.partial")
    try:
        with urlopen(request, timeout=SECONDS) as source, partial.open("xb") as target:
            length = source.headers.get("Content-Length")
            expected = int(length) if length else None
            with torch.hub.tqdm(
                total=expected, disable=not os.isatty(0), unit="B", unit_scale=True
            ) as bar:
                while part := source.read(PART):
                    target.write(part)
                    bar.update(len(part))
        size = partial.stat().st_size
        if expected not in (None, size):
            raise OSError(f"it ended after {size} of {expected} bytes")
        place = shared if _is_as_named(partial, shared.name) else own
        if place == own and DIGEST.search(own.name):
            said = f"{url}: its SHA-256 does not start as its name says"
            print_log(said, "current", WARNING)
        place.parent.mkdir(exist_ok=True)
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)
