"""Tables that the analysis tools print, and files that they write."""

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from ..utils.atomic_files import write_atomically
from ..utils.errors import ConfigError


def write_json(path: str | Path, measured: dict[str, Any]) -> None:
    """Write what was measured, and the folders above the file if they are not there.

    Raises:
        ConfigError: It cannot be written.
    """
    text = json.dumps(measured, indent=1) + "\n"
    write_atomically(path, text.encode(), "--json")


def write_plot(
    path: str | Path,
    figure: Figure,
    metadata: dict[str, Any] | None = None,
    name: str = "--plot",
) -> None:
    """Write a picture, of the kind that the name ends in, and the folders above it.

    Args:
        path (str | Path): The file.
        figure (Figure): The picture.
        metadata (dict[str, Any] | None): What matplotlib is to write into the file
            besides. Default: None.
        name (str): Of the argument that names the file, for the message. Default:
            '--plot'.

    Raises:
        ConfigError: It cannot be written, or there is no such kind of picture.
    """
    path, file = Path(path), BytesIO()
    if not path.suffix:  # matplotlib's own rule
        path = path.with_name(f"{path.name}.png")
    kind = path.suffix.removeprefix(".")
    try:
        with rc_context({"svg.hashsalt": path.name}):  # the same file again
            figure.savefig(file, dpi=120, format=kind, metadata=metadata)
    except ValueError as error:
        raise ConfigError(f"{name} {path}: it cannot be written: {error}") from error
    write_atomically(path, file.getbuffer(), name)


def write_picture(
    path: str | Path, picture: np.ndarray, name: str = "", quality: int = 95
) -> None:
    """Write a picture, of the kind that the name ends in, and the folders above it.

    Args:
        path (str | Path): The file, such as a .png or a .jpg.
        picture (np.ndarray): (H, W, 3), uint8 RGB.
        name (str): Of the argument that names the file, for the message. Default: ''.
        quality (int): Of a .jpg, from 0 to 100. Default: 95.

    Raises:
        ConfigError: It cannot be written.

    Example:
        >>> write_picture('black.png', np.zeros((4, 6, 3), np.uint8))
        >>> cv2.imread('black.png').shape
        (4, 6, 3)
    """
    kind, options = Path(path).suffix, [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(kind, picture[..., ::-1], options)
    write_atomically(path, data.data, name)


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
    if markdown:
        lines = [tuple(cell.replace("|", "\\|") for cell in line) for line in lines]
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
