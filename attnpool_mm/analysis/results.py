"""Tables that the analysis tools print, and files that they write."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
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


def write_plot(
    path: str | Path, figure: Figure, metadata: dict[str, Any] | None = None
) -> None:
    """Write a picture, of the kind that the name ends in, and the folders above it.

    Args:
        path (str | Path): The file.
        figure (Figure): The picture.
        metadata (dict[str, Any] | None): What matplotlib is to write into the file
            besides. Default: None.

    Raises:
        ConfigError: It cannot be written, or there is no such kind of picture.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context({"svg.hashsalt": path.name}):  # the same file again
            figure.savefig(path, dpi=120, metadata=metadata)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--plot {path}: it cannot be written: {error}") from error


def text_table(columns: Mapping[str, Sequence[str]], markdown: bool = False) -> str:
    """Columns as lines of text, the first to the left and the others to the right.

    Args:
        columns (Mapping[str, Sequence[str]]): Heading → cells.
        markdown (bool): Whether the table is one of Markdown. Default: False.

    Example:
        >>> print(text_table({'layer': ['stem', 'head'], 'kB': ['1.5', '12.0']}))
        layer    kB
        -----  ----
        stem    1.5
        head   12.0
    """
    lines = [tuple(columns), *zip(*columns.values(), strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    if markdown:
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        padded.insert(1, rule)
        return "\n".join(f"| {' | '.join(line)} |" for line in padded)
    padded.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(line) for line in padded)
