"""Can a work folder, or a file of results, be written to?"""

import os
import tempfile
from pathlib import Path

from ..utils.atomic_files import is_stream
from ..utils.errors import ConfigError


def check_work_dir(path: str) -> None:
    """Check that files can be written to the work folder, which may be made.

    Raises:
        ConfigError: As in `check_folder`.
    """
    check_folder("work_dir", path, ", with --work-dir")


def check_folder(name: str, path: str | Path, hint: str = "") -> None:
    """Check that files can be written to a folder, which may be made.

    Args:
        name (str): Of the argument that names it, for the message.
        path (str | Path): The folder.
        hint (str): What the message ends with, where it cannot be written to. Default:
            ''.

    Raises:
        ConfigError: It is a file, lies below one, or cannot be written to.
    """
    folder = Path(path)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise ConfigError(
            f"{name}={str(path)!r}: {folder} is a file; a folder is accepted"
        )
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"{name}={str(path)!r}: {folder} cannot be written to ({error.strerror}); "
            f"another folder is accepted{hint}"
        ) from error


def check_file(option: str, path: str | Path, *sources: str | Path | None) -> None:
    """Check that a file can be written, before the work whose results it is for.

    Args:
        option (str): That names it, for the message.
        path (str | Path): The file; its folder may be made. A file that can be written
            need not lie in such a folder.
        *sources (str | Path | None): What is read, which must not be written over.

    Raises:
        ConfigError: It is a folder or a source, or its folder cannot be written to.
    """
    read = {Path(source).resolve() for source in sources if source}
    if Path(path).resolve() in read:
        raise ConfigError(f"{option} {path}: it is read; another file is accepted")
    if is_stream(path) or (Path(path).is_file() and os.access(path, os.W_OK)):
        return
    check_folder(option, Path(path).parent)
    if Path(path).is_dir():
        raise ConfigError(f"{option} {path}: it is a folder; a file is accepted")
