"""MMEngine's loading of checkpoints, from files and URLs, made ours."""

import io
import os
import re
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen
from uuid import uuid4

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.fileio import get_file_backend
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from ..utils.errors import ConfigError
from .loading import FORCE_SAFE, load_checkpoint_file, load_stream

FORCE_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
WEB = ("http://", "https://")
# At the end of names such as resnet50-11ad3fa6.pth, but no date
DIGEST = re.compile(r"-(?!(?:19|20)\d{6}\.)([0-9a-f]{8,64})\.\w+$")
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
    try:
        file, digest = _place(url)
        rank, _ = get_dist_info()
        for turn in (True, False):
            if turn == (rank == 0) and not _is_whole(file, digest):
                file.parent.mkdir(parents=True, exist_ok=True)
                _fetch(url, file, digest)
            if turn:
                barrier()  # machines with a folder of their own download after rank 0
    except (OSError, HTTPException, ValueError) as error:
        reason = f"{' '.join(str(error).split()) or type(error).__name__:.200}"
        raise ConfigError(
            f"checkpoint {url}: a download failed ({reason}); the path of a file is "
            "accepted, too"
        ) from error
    return file


def _place(url: str) -> tuple[Path, str]:
    """Where a download lies, and how its SHA-256 starts; that is '' if not known.

    A name with a digest, as PyTorch and OpenMMLab publish their weights, stands for one
    content: it lies where `torch.hub` and MMEngine look for it, for them too. Of other
    names there is one on every server: they lie in a folder for each URL, which those
    two do not read, as we do not read what they have under the mere name.
    """
    folder = Path(torch.hub.get_dir(), "checkpoints")
    name = Path(urlparse(url).path).name or "checkpoint"
    if found := DIGEST.search(name):
        return folder / name, found[1]
    return folder / sha256(url.encode()).hexdigest()[:URL_DIGITS] / name, ""


def _is_whole(file: Path, digest: str) -> bool:
    """Whether a file is there, with the content that its name says."""
    if not digest or not file.is_file():
        return file.is_file()
    found = sha256()
    with file.open("rb") as stream:
        while part := stream.read(PART):
            found.update(part)
    return found.hexdigest().startswith(digest)


def _fetch(url: str, file: Path, digest: str) -> None:
    """Download a file; what does not come whole leaves nothing.

    `torch.hub.download_url_to_file` takes a lost connection for the end of the file.

    Raises:
        OSError: The download failed, was cut short, or is not what the name says.
        HTTPException: The server does not speak HTTP.
        ValueError: The URL is none.
    """
    request = Request(url, headers={"User-Agent": "torch.hub"})  # as `torch.hub` does
    partial = file.with_name(f"{uuid4().hex}.partial")
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
        if not _is_whole(partial, digest):
            raise OSError(f"its SHA-256 does not start with {digest}, as its name says")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
