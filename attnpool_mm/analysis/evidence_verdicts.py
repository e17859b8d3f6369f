"""What the runs of a plan gave, in sentences."""

from collections.abc import Iterable, Sequence
from statistics import fmean

from .evidence import Summary, difference_of, summaries
from .evidence_file import Levels, Results, level_name
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
            level_name(axis, level)
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
        that they are said of; the highest mean of those with several seeds, over those
        that all of them have, with what is within the noise of it; and those that
        scatter more than the others.
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
        lines += _leading(results, rows)
        if odd := [own_name(results, row) for row in rows if row.is_outlying]:
            lines.append(
                f"  - scatter more than the others: {'; '.join(odd)}; what they differ "
                "by is judged by their own pairs alone"
            )
        found.append("\n".join([f"- {head}:", *lines]))
    return found


def _by_word(rows: Sequence[Summary]) -> dict[str, list[Summary]]:
    words = (*WORDS, "one seed")
    found = {
        word: [r for r in rows if r.difference and r.difference.word == word]
        for word in words
    }
    found["failed"] = [row for row in rows if row.failed and not row.values]
    empty = [row for row in rows if not row.failed and not row.values]
    found["without a value"] = [row for row in empty if row.valueless]
    found["not run yet"] = [row for row in empty if not row.valueless]
    return found


def _names(results: Results, rows: Iterable[Summary]) -> str:
    def name(row: Summary) -> str:
        text = own_name(results, row)
        if row.difference:
            text += f" ({number(row.difference.mean, True, row.digits)})"
        return text

    return "; ".join(map(name, rows))


def _leading(results: Results, rows: Sequence[Summary]) -> list[str]:
    """The highest mean, and which differences from it are within the noise."""
    there = [row for row in rows if len(row.values) > 1]
    if len(there) < 2:
        return []
    seeds = set.intersection(*(set(row.values) for row in there))
    if len(seeds) < 2:
        return []
    means = [fmean(row.values[seed] for seed in seeds) for row in there]
    best = there[means.index(max(means))]
    near = []
    for row in there:
        difference = None if row is best else difference_of(row, best)
        if difference is not None and difference.word == "within the noise":
            near.append(own_name(results, row))
    all_have = all(row.values.keys() == seeds for row in there)
    which = "" if all_have else ", over the seeds that all of several have"
    highest = number(max(means), digits=best.digits)
    text = f"  - highest mean{which}: {own_name(results, best)} ({highest})"
    if near:
        text += f"; within the noise of it: {'; '.join(near)}"
    return [text]


def conditions(results: Results) -> str:
    """How many runs there are of how many, on what, what failed, how long it took."""
    planned = len(results.combinations) * results.seeds
    failed = [run for run in results.runs if run.problem]
    done = [run for run in results.runs if run.last or run.problem]
    hours = sum(run.seconds for run in results.runs) / 3600
    versions = {run.versions["torch"] for run in done if "torch" in run.versions}
    machines = {
        f"{run.machine['device']} (threads: {run.machine.get('threads', '?')})"
        for run in done
        if "device" in run.machine
    }
    lines = [
        f"`{results.plan}`: {len(done)} of {planned} runs, {results.seeds} seeds, "
        f"{hours:,.1f} hours by the clock, summed over the runs"
        + (f", PyTorch {' and '.join(sorted(versions))}" if versions else "")
        + (f", on {' and '.join(sorted(machines))}" if machines else "")
        + "."
    ]
    if failed:
        alike: dict[str, list[str]] = {}
        for run in failed:  # after a semicolon a problem says what to try
            alike.setdefault(run.problem.partition(";")[0], []).append(run.name)
        problems = (f"{', '.join(names)}: {what}" for what, names in alike.items())
        lines.append(f"{len(failed)} of them failed: {'; '.join(problems)}.")
    return " ".join(lines)
