"""Files that are there whole, or not at all."""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from shutil import copymode
from typing import Any

import torch

from .errors import ConfigError

PARTIAL = ".attnpool_mm-partial"
STREAMS = ("/dev/std", "/dev/fd/", "/proc/self/fd/")  # of files that are open


class FileWriteError(ConfigError, OSError):
    """A file cannot be written: no space, no permission."""


def write_atomically(
    path: str | os.PathLike, data: bytes | memoryview, name: str = ""
) -> None:
    """Write a file that is there whole, or not at all.

    The bytes go to a temporary file in the same folder, onto the disk, and are then
    renamed. What was under the name before stays until then. What is no file, such as
    /dev/stdout, is written as it is, and so is a file that cannot be replaced: one that
    is mounted, or whose folder cannot be written to.

    Args:
        path (str | os.PathLike): The file; its folder is made where it is missing.
        data (bytes | memoryview): All of its bytes.
        name (str): Of the argument that names it, for the message. Default: ''.

    Raises:
        FileWriteError: The system refuses. Nothing half-written stays.

    Example:
        >>> write_atomically('results.json', b'{}')
        >>> Path('results.json').read_text()
        '{}'
    """
    write_together({path: data}, name)


def save_atomically(state: Any, path: str | os.PathLike, name: str = "") -> None:
    """`torch.save`, of a file that is there whole, or not at all.

    Args:
        state (Any): What `torch.save` takes.
        path (str | os.PathLike): As in `write_atomically`.
        name (str): As in `write_atomically`. Default: ''.

    Raises:
        FileWriteError: As in `write_atomically`.

    Example:
        >>> save_atomically({'weight': torch.ones(2)}, 'weights.pth')
        >>> torch.load('weights.pth')
        {'weight': tensor([1., 1.])}
    """
    write_atomically(path, saved(state), name)


def saved(state: Any) -> memoryview:
    """The bytes that `torch.save` writes.

    It goes to memory first: of a file that cannot be written, PyTorch does not say why.
    """
    file = BytesIO()
    torch.save(state, file)
    return file.getbuffer()


def write_together(
    files: Mapping[str | os.PathLike, bytes | memoryview], name: str = ""
) -> None:
    """Write files of which none may lie beside another's old version.

    All are on the disk, under temporary names, before the first is renamed. A kill
    leaves old files alone or new ones alone, perhaps not all of them: the old ones but
    for the first are deleted, and then the first is the first to be renamed.

    Args:
        files (Mapping[str | os.PathLike, bytes | memoryview]): The files, as in
            `write_atomically`.
        name (str): As in `write_atomically`. Default: ''.

    Raises:
        FileWriteError: As in `write_atomically`.

    Example:
        >>> write_together({'net.pth': b'weights', 'net.py': b'config'})
        >>> sorted(path.name for path in Path().glob('net.*'))
        ['net.pth', 'net.py']
    """
    partials: dict[Path, Path] = {}
    try:
        for path, data in files.items():
            with _one_line(path, name):
                if is_stream(path):
                    Path(path).write_bytes(data)
                else:
                    Path(path).parent.mkdir(parents=True, exist_ok=True)
                    _write_partial(Path(os.path.realpath(path)), data, partials)
        for target in list(partials)[1:]:
            with suppress(OSError):  # one that is mounted stays until it is written
                target.unlink()
        for target, partial in partials.items():
            with _one_line(target, name):
                _replace(partial, target)
    except BaseException:
        for partial in partials.values():
            with suppress(OSError):
                partial.unlink()
        raise
    for folder in {target.parent for target in partials}:
        _sync_folder(folder)


def _write_partial(
    target: Path, data: bytes | memoryview, partials: dict[Path, Path]
) -> None:
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    partial = target.with_name(f".{target.name}{PARTIAL}")
    try:
        file = open(partial, "wb")  # noqa: SIM115 (closed below)
    except OSError as error:
        if not _is_writable_itself(target, error):
            raise
        target.write_bytes(data)
        return
    partials[target] = partial
    with file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if target.exists():
        copymode(target, partial)


def _replace(partial: Path, target: Path) -> None:
    try:
        os.replace(partial, target)
    except OSError as error:
        if not _is_writable_itself(target, error):
            raise
        target.write_bytes(partial.read_bytes())
        partial.unlink()


def _is_writable_itself(target: Path, error: OSError) -> bool:
    """Whether a file can be written where its folder cannot, or where it is mounted."""
    refused = error.errno in (errno.EACCES, errno.EBUSY, errno.EPERM, errno.EROFS)
    return refused and target.is_file() and os.access(target, os.W_OK)


def is_stream(path: str | os.PathLike) -> bool:
    """Whether a name is of no file that can be replaced, such as /dev/stdout."""
    exists = os.path.exists(path)
    other = exists and not (os.path.isfile(path) or os.path.isdir(path))
    return other or os.fspath(path).startswith(STREAMS)


@contextmanager
def _one_line(path: str | os.PathLike, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f"{name} {path}".strip()
        raise FileWriteError(
            f"{where}: it cannot be written: {error.strerror or error}; what was there "
            "before is as it was"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder onto the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
