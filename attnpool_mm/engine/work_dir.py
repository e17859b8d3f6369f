"""Can the work folder be written to?"""

import tempfile
from pathlib import Path

from ..utils.errors import ConfigError


def check_work_dir(path: str) -> None:
    """Check that files can be written to a folder, which may be made.

    Raises:
        ConfigError: It is a file, lies below one, or cannot be written to.
    """
    folder = Path(path).expanduser()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise ConfigError(
            f"work_dir={path!r}: {folder} is a file; a folder is accepted"
        )
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"work_dir={path!r}: {folder} cannot be written to ({error.strerror}); "
            "another folder is accepted, with --work-dir"
        ) from error
