"""What `benchmark_pooling.py` measured, as tables, and the pages that hold them."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from ..utils.errors import ConfigError
from .benchmark_cases import TARGETS, parse_size

OTHERS = ("plain", "convolution", "compiled")
MARKED = re.compile(
    r"(<!-- (benchmark|targets|profile): (\S+) -->\n).*?(<!-- end -->)", re.DOTALL
)


def columns(others: Sequence[str]) -> tuple[str, ...]:
    """The heads of the columns, with ratios to `others`."""
    times, peaks = ([f"{of}: {n}" for n in others] for of in ("time", "memory"))
    return (
        *("layer", "input", "step", "ms", "GFLOPs", "of the limit"),
        *times,
        "MB",
        *peaks,
    )


def row(result: dict, others: Sequence[str]) -> tuple[str, ...]:
    """The cells of a result, with ratios to `others`."""
    own, flops = result["median_ms"]["layer"], result["flops"]

    def ratios(of: str) -> list[str]:
        values = (result[of].get(name) for name in others)
        return ["–" if value is None else f"{value:.2f}×" for value in values]

    return (
        *_case(result),
        f"{own:,.1f}",
        "–" if flops is None else f"{flops / 1e9:,.2f}",
        "–" if flops is None else f"{100 * result['limit_ms'] / own:.0f} %",
        *ratios("time_ratio"),
        f"{result['peak_bytes']['layer'] / 1e6:,.1f}",
        *ratios("peak_ratio"),
    )


def table(results: list[dict]) -> str:
    """The results as a Markdown table."""
    others = _others(results)
    head = columns(others)
    numbers = ("---:",) * (len(head) - 3)
    rows = (row(result, others) for result in results)
    return _markdown([head, ("---",) * 3 + numbers, *rows])


def conditions(measured: dict) -> str:
    """How it was measured, in a sentence."""
    speed, version = measured["speed"], measured["versions"]["torch"]
    layout = ", channels last" if measured.get("channels_last") else ""
    return (
        f"{measured['device']}, {measured['threads']} threads, float32{layout}, "
        f"PyTorch {version}, median of {measured['repeats']}; the machine multiplies "
        f"matrices at {speed['matmul_gflops']:,.0f} GFLOP/s (16 columns wide: "
        f"{speed['narrow_gflops']:,.0f}), copies {speed['copy_gbytes']:,.0f} GB/s and "
        f"takes {speed['exp_gvalues']:.1f} · 10⁹ exponentials a second."
    )


def targets(results: list[dict]) -> str:
    """What was aimed at, and what was measured, as a Markdown table."""
    lines = [("layer", "input", "step", "less", "target", "measured"), ("---",) * 6]
    for result, key, least in _with_targets(results):
        what = "time" if key == "time_ratio" else "peak memory"
        measured = f"{result[key]['plain']:.1f}×"
        lines.append((*_case(result), what, f"≥ {least}×", measured))
    return _markdown(lines)


def profile(results: list[dict]) -> str:
    """Where the time of those with targets goes, as a Markdown table."""
    lines = [("layer", "input", "step", "share of its time, by operator"), ("---",) * 4]
    cases = {_case(result): result for result, *_ in _with_targets(results)}
    for case, result in cases.items():
        shares = result["operators"]
        words = (f"`{name}` {100 * share:.0f} %" for name, share in shares.items())
        lines.append((*case, ", ".join(words)))
    return _markdown(lines)


def write_page(path: Path) -> None:
    """Write the tables of a page anew, each from the file that its mark names.

    Args:
        path: Markdown, with marks `<!-- benchmark: FILE -->` (or `targets`, `profile`)
            and `<!-- end -->`; files are relative to it.

    Raises:
        ConfigError: The page or a file cannot be read, or there is no mark.
    """

    def fill(match: re.Match) -> str:
        try:
            measured = json.loads((path.parent / match[3]).read_text())
            results = measured["results"]
            if match[2] == "benchmark":
                text = f"{conditions(measured)}\n\n{table(results)}"
            else:
                text = {"targets": targets, "profile": profile}[match[2]](results)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"--page {path}: {match[3]} is not what --json writes: {error!r}"
            ) from error
        return f"{match[1]}\n{text}\n\n{match[4]}"

    try:
        page, count = MARKED.subn(fill, path.read_text())
        if count:
            path.write_text(page)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--page {path}: {error}") from error
    if not count:
        raise ConfigError(f"--page {path}: it has no <!-- benchmark: FILE -->")


def _others(results: list[dict]) -> tuple[str, ...]:
    return tuple(n for n in OTHERS if any(n in r["median_ms"] for r in results))


def _case(result: dict) -> tuple[str, str, str]:
    return result["layer"], "×".join(map(str, result["size"])), result["mode"]


def _with_targets(results: list[dict]) -> list[tuple[dict, str, float]]:
    found = {(r["layer"], tuple(r["size"]), r["mode"]): r for r in results}
    cases = ((n, parse_size(w), mode, *rest) for n, w, mode, *rest in TARGETS)
    return [(found[case[:3]], *case[3:]) for case in cases if case[:3] in found]


def _markdown(lines: list[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
