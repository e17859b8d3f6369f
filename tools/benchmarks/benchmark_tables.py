"""What `benchmark_pooling.py` measured, as tables, and the pages that hold them."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from benchmark_cases import LAYERS

from attnpool_mm.utils.atomic_files import write_atomically
from attnpool_mm.utils.errors import ConfigError

OTHERS = ("plain", "convolution", "compiled")
MARKED = re.compile(r"(<!-- benchmark: (\S+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def columns(others: Sequence[str]) -> tuple[str, ...]:
    """The heads of the columns, with ratios to `others`."""
    times, peaks = ([f"{of}: {n}" for n in others] for of in ("time", "memory"))
    return ("layer", "input", "step", "ms", *times, "MB", *peaks)


def row(result: dict, others: Sequence[str]) -> tuple[str, ...]:
    """The cells of a result, with ratios of `others` to the layer."""

    def cells(values: dict[str, float], unit: float) -> list[str]:
        own = values["layer"]
        ratios = (f"{values[n] / own:.2f}×" if n in values else "–" for n in others)
        return [f"{own / unit:,.1f}", *ratios]

    return (
        result["layer"],
        "×".join(map(str, result["size"])),
        result["mode"],
        *cells(result["median_ms"], 1),
        *cells(result["peak_bytes"], 1e6),
    )


def table(results: list[dict]) -> str:
    """The results as a Markdown table."""
    others = [n for n in OTHERS if any(n in r["median_ms"] for r in results)]
    head = columns(others)
    rule = ("---",) * 3 + ("---:",) * (len(head) - 3)
    lines = [head, rule, *(row(result, others) for result in results)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def conditions(measured: dict) -> str:
    """How it was measured, in a sentence."""
    layout = ", channels last" if measured["channels_last"] else ""
    return (
        f"{measured['device']}, {measured['threads']} threads, float32{layout}, "
        f"PyTorch {measured['versions']['torch']}, median of {measured['repeats']}."
    )


def write_page(path: Path) -> None:
    """Write the tables of a page anew, each from the file that its mark names.

    Args:
        path: Markdown, with marks `<!-- benchmark: FILE GROUP -->`, a group of
            `LAYERS`, and `<!-- end -->`; files are relative to it.

    Raises:
        ConfigError: The page or a file cannot be read, or there is no mark.
    """

    def fill(match: re.Match) -> str:
        mark, file, group, end = match.groups()
        try:
            measured = json.loads((path.parent / file).read_text())
            names = LAYERS[group]
            results = [r for r in measured["results"] if r["layer"] in names]
            return f"{mark}\n{conditions(measured)}\n\n{table(results)}\n\n{end}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"--page {path}: {file} {group}: not what --json writes: {error!r}"
            ) from error

    try:
        page, count = MARKED.subn(fill, path.read_text())
        if count:
            write_atomically(path, page.encode(), "--page")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--page {path}: {error}") from error
    if not count:
        raise ConfigError(f"--page {path}: it has no <!-- benchmark: FILE GROUP -->")
