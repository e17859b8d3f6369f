"""What the runs of a plan gave, in sentences."""

import math
from collections.abc import Iterable, Sequence

from .evidence import Summary, difference_of, summaries
from .evidence_file import Levels, Results
from .evidence_tables import WORDS, number


def families(results: Results, where: Levels | None = None) -> dict[str, list[Summary]]:
    """The combinations that are compared with the same reference run, together.

    Args:
        results (Results): What the runs gave.
        where (Levels | None): Only the combinations with these levels. Default: None.

    Returns:
        The levels that a family shares, of the axes with more than one → the family.
    """
    found: dict[str, list[Summary]] = {}
    for row in summaries(results, where=where):
        shared = (
            level
            for axis, level in row.levels.items()
            if axis not in results.reference and len(results.axes[axis]) > 1
        )
        shared = shared if results.reference else ()
        found.setdefault(", ".join(shared), []).append(row)
    return found


def own_name(results: Results, row: Summary) -> str:
    """The levels that a combination does not share with its family."""
    return ", ".join(row.levels[axis] for axis in results.reference or row.levels)


def verdicts(results: Results, where: Levels | None = None) -> list[str]:
    """Say of each family what is better than the reference, and which lead.

    Args:
        results (Results): What the runs gave.
        where (Levels | None): Only the combinations with these levels. Default: None.

    Returns:
        A list of Markdown for each family: the words of `Difference.word` with those
        that they are said of, and the highest mean with those whose difference from it
        is within the noise.
    """
    found = []
    for shared, rows in families(results, where).items():
        against = ", ".join(results.reference.values())
        head = f"Against {against}" if against else "Without a reference"
        if shared:
            head = f"**{shared}**, against {against}"
        lines = [
            f"  - {word}: {_names(results, chosen)}"
            for word, chosen in _by_word(rows).items()
            if chosen
        ]
        found.append("\n".join([f"- {head}:", *lines, *_leading(results, rows)]))
    return found


def _by_word(rows: Sequence[Summary]) -> dict[str, list[Summary]]:
    words = (*WORDS, "one seed")
    found = {
        word: [r for r in rows if r.difference and r.difference.word == word]
        for word in words
    }
    found["failed"] = [row for row in rows if row.failed and not row.values]
    found["not run yet"] = [row for row in rows if not row.failed and not row.values]
    return found


def _names(results: Results, rows: Iterable[Summary]) -> str:
    def name(row: Summary) -> str:
        text = own_name(results, row)
        if row.difference:
            text += f" ({number(row.difference.mean, signed=True)})"
        return text

    return "; ".join(map(name, rows))


def _leading(results: Results, rows: Sequence[Summary]) -> list[str]:
    """The highest mean, and which differences from it are within the noise."""
    there = [row for row in rows if not math.isnan(row.mean)]
    if len(there) < 2:
        return []
    best = max(there, key=lambda row: row.mean)
    near = []
    for row in there:
        difference = None if row is best else difference_of(row, best)
        if difference is not None and difference.word == "within the noise":
            near.append(own_name(results, row))
    text = f"  - highest mean: {own_name(results, best)} ({number(best.mean)})"
    if near:
        text += f"; within the noise of it: {'; '.join(near)}"
    return [text]


def conditions(results: Results) -> str:
    """How many runs of how many there are, what failed, and how long it took."""
    planned = len(results.combinations) * results.seeds
    failed = [run for run in results.runs if run.problem]
    done = [run for run in results.runs if run.last or run.problem]
    hours = sum(run.seconds for run in results.runs) / 3600
    versions = {run.versions["torch"] for run in done if "torch" in run.versions}
    lines = [
        f"`{results.plan}`: {len(done)} of {planned} runs, {results.seeds} seeds, "
        f"{hours:,.1f} hours of training"
        + (f", PyTorch {' and '.join(sorted(versions))}" if versions else "")
        + "."
    ]
    if failed:
        problems = "; ".join(f"{run.name}: {run.problem}" for run in failed)
        lines.append(f"{len(failed)} of them failed: {problems}.")
    return " ".join(lines)
