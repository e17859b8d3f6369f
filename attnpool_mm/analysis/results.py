"""Files that the analysis tools write."""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..utils.errors import ConfigError


def write_json(path: str | Path, measured: dict[str, Any]) -> None:
    """Write what was measured, and the folders above the file if they are not there.

    Raises:
        ConfigError: It cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(measured, indent=1) + "\n")
    except OSError as error:
        raise ConfigError(f"--json {path}: it cannot be written: {error}") from error


def write_plot(path: str | Path, figure: Figure) -> None:
    """Write a picture, of the kind that the name ends in, and the folders above it.

    Raises:
        ConfigError: It cannot be written, or there is no such kind of picture.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--plot {path}: it cannot be written: {error}") from error
