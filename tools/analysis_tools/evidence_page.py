"""Fill a page's tables, pictures, sentences and numbers from the results of plans.

    python tools/analysis_tools/evidence_page.py docs/evidence.md
    python tools/analysis_tools/evidence_page.py docs/evidence.md --check

What stands between a mark and `<!-- end -->` is written anew. NAME is a file of
`docs/evidence`, without its ending; AXIS=LEVEL takes a part of the runs.
reference=AXIS=LEVEL compares with these instead of the plan's reference, and
metric=METRIC by another metric or measure than the plan's. over=AXIS compares the means
over the levels of an axis; their costs are those of the level that costs=LEVEL names.

    <!-- runs: NAME -->    how many there are of how many
    <!-- table: NAME COLUMN ... [across=AXIS] [AXIS=LEVEL ...] -->
    <!-- verdicts: NAME [AXIS=LEVEL ...] -->    what is better, worse, in the noise
    <!-- plot: NAME tradeoff [COST ...] [panels=AXIS] [AXIS=LEVEL ...] -->
    <!-- plot: NAME differences [AXIS=LEVEL ...] -->
    <!-- value: NAME COLUMN AXIS=LEVEL ... -->    a cell of a table, within a sentence
"""

import argparse
import hashlib
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from matplotlib.figure import Figure

from attnpool_mm.analysis.difference_plots import draw_differences
from attnpool_mm.analysis.evidence import summaries
from attnpool_mm.analysis.evidence_average import averaged
from attnpool_mm.analysis.evidence_file import Results, read_results
from attnpool_mm.analysis.evidence_plots import draw_tradeoff
from attnpool_mm.analysis.evidence_tables import columns_of
from attnpool_mm.analysis.evidence_verdicts import conditions, verdicts
from attnpool_mm.analysis.results import text_table, write_plot
from attnpool_mm.engine import launch
from attnpool_mm.utils.atomic_files import write_atomically
from attnpool_mm.utils.checks import check_choice
from attnpool_mm.utils.errors import ConfigError

DOCS = Path(__file__).resolve().parents[2] / "docs"
COMMAND = "python tools/analysis_tools/evidence_page.py"
OPENING = re.compile(r"<!-- (\w+): ((?:(?!-->).)*?) -->")
BLOCK = re.compile(OPENING.pattern + r"((?:(?!<!--).)*)<!-- end -->", re.DOTALL)


@dataclass
class Mark:
    """What a mark asks for.

    Attributes:
        asked: Its words.
        results: Of the plan.
        words: Its words after the plan's name.
        options: Its KEY=VALUE.
    """

    asked: str
    results: Results
    words: list[str]
    options: dict[str, str]


@dataclass
class Picture:
    """A picture that the page shows.

    Attributes:
        path: Its file.
        figure: Draws it.
        source: Says what it was drawn from and how, and stands in the file.
    """

    path: Path
    figure: Callable[[], Figure]
    source: str

    def is_up_to_date(self) -> bool:
        """Whether the file was drawn from the results as they are."""
        return self.path.is_file() and self.source in self.path.read_text()

    def write(self) -> None:
        """Draw it."""
        write_plot(self.path, self.figure(), {"Date": None, "Description": self.source})


class Page:
    """A page's text as it has to be, and its pictures.

    Args:
        path: The page.
        data: The folder of the results.
        images: The folder of the pictures.

    Raises:
        ConfigError: The page or a file of results cannot be read, or a mark asks for
            what there is not.
    """

    def __init__(self, path: Path, data: Path, images: Path):
        self.path, self.data, self.images = path, data, images
        self.missing: set[str] = set()  # plans without results
        self.pictures: list[Picture] = []
        try:
            self.found = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from error
        blocks = BLOCK.findall(self.found)  # also of a misspelt kind; others are notes
        opened, closed = (
            sum(mark[0] in KINDS for mark in marks)
            for marks in (OPENING.findall(self.found), blocks)
        )
        if not blocks or opened != closed:
            raise ConfigError(
                f"{path}: {opened} marks as <!-- table: NAME -->, of which "
                f"{closed} have an <!-- end --> before the next: at least one "
                "mark, and an end for each, are expected"
            )
        self.text = BLOCK.sub(self._filled, self.found)

    def _filled(self, block: re.Match) -> str:
        kind, asked, _ = block.groups()
        try:
            check_choice("mark", kind, tuple(KINDS))
            content = self._content(kind, shlex.split(asked))
        except (ConfigError, ValueError) as error:
            raise ConfigError(f"{self.path}: {kind}: {asked}: {error}") from error
        if kind != "value":  # a paragraph of its own
            content = f"\n\n{content}\n\n"
        return f"<!-- {kind}: {asked} -->{content}<!-- end -->"

    def _content(self, kind: str, words: list[str]) -> str:
        if not words:
            raise ConfigError("the name of a plan's results is expected")
        asked, name, words = shlex.join(words), words[0], words[1:]
        path = self.data / f"{name}.json"
        if not path.is_file():
            self.missing.add(name)
            return "not run yet" if kind == "value" else f"*Not run yet: {name}.*"
        pairs = [word.split("=", 1) for word in words if "=" in word]
        words = [word for word in words if "=" not in word]
        options = dict(pairs)
        if len(options) < len(pairs):
            raise ConfigError(f"{asked}: each key once is expected")
        results = read_results(path)
        if kind != "runs" and (reference := options.pop("reference", "")):
            axis, _, level = reference.partition("=")
            results.check_levels({axis: level})
            # the times of steps are over those of the plan's
            results = replace(results, reference={axis: level}, steps={})
        if kind != "runs" and (metric := options.pop("metric", "")):
            results.check_metric(metric)
            results = replace(results, metric=metric)
        if kind != "runs" and (over := options.pop("over", "")):
            results = averaged(results, over, options.pop("costs", None))
        return KINDS[kind](self, Mark(asked, results, words, options))

    def runs(self, mark: Mark) -> str:
        """How many runs there are of how many."""
        check_nothing_left([*mark.words, *mark.options])
        return conditions(mark.results)

    def table(self, mark: Mark) -> str:
        """A table."""
        across = mark.options.pop("across", None)
        names = [mark.words] if mark.words else []
        columns = columns_of(mark.results, *names, where=mark.options, across=across)
        return text_table(columns, markdown=True)

    def verdicts(self, mark: Mark) -> str:
        """Sentences about the differences."""
        check_nothing_left(mark.words)
        return "\n".join(verdicts(mark.results, mark.options))

    def value(self, mark: Mark) -> str:
        """A cell of a table."""
        cells = [*columns_of(mark.results, mark.words, mark.options).values()][-1:]
        if len(mark.words) != 1 or len(cells[0]) != 1:
            count = len(cells[0]) if cells else 0
            raise ConfigError(
                f"{len(mark.words)} columns of {count} combinations: one of one is "
                "expected"
            )
        return cells[0][0]

    def plot(self, mark: Mark) -> str:
        """A picture."""
        kind = check_choice("picture", (mark.words or [""])[0], tuple(PLOTS))
        where = {k: v for k, v in mark.options.items() if k != "panels"}
        rows = summaries(mark.results, where=where)
        if not any(r.difference if kind == "differences" else r.values for r in rows):
            return f"*Nothing to draw yet: {mark.results.name}.*"
        name = re.sub(r"[^\w.-]+", "-", f"evidence-{mark.asked}").rstrip("-")
        path = self.images / f"{name}.svg"
        content = (self.data / f"{mark.results.name}.json").read_bytes()
        digest = hashlib.sha256(mark.asked.encode() + content).hexdigest()
        source = f"{mark.results.name} sha256 {digest}"
        self.pictures.append(Picture(path, lambda: PLOTS[kind](mark), source))
        link = Path(os.path.relpath(path, self.path.parent)).as_posix()
        return f"![{ALTERNATIVES[kind]}: {mark.results.name}]({link})"

    def out_of_date(self) -> list[str]:
        """The names of the files that are not as they have to be."""
        names = [self.path.name] if self.text != self.found else []
        return names + [p.path.name for p in self.pictures if not p.is_up_to_date()]

    def write(self) -> None:
        """Draw the pictures and write the page."""
        for picture in self.pictures:
            picture.write()
        write_atomically(self.path, self.text.encode())


def check_nothing_left(words: list[str]) -> None:
    """Check that a mark has no words that nothing reads.

    Raises:
        ConfigError: It has.
    """
    if words:
        raise ConfigError(f"{' '.join(words)}: this mark has no such word")


def tradeoff(mark: Mark) -> Figure:
    """The metric over its costs."""
    panels = mark.options.get("panels")
    where = {key: value for key, value in mark.options.items() if key != "panels"}
    costs = [mark.words[1:]] if mark.words[1:] else []
    return draw_tradeoff(mark.results, *costs, where=where, panels=panels)


def differences(mark: Mark) -> Figure:
    """The differences from the reference."""
    check_nothing_left(mark.words[1:])
    return draw_differences(mark.results, mark.options)


KINDS = {
    "runs": Page.runs,
    "table": Page.table,
    "verdicts": Page.verdicts,
    "plot": Page.plot,
    "value": Page.value,
}
PLOTS = {"tradeoff": tradeoff, "differences": differences}
ALTERNATIVES = {
    "tradeoff": "Accuracy over its costs, the Pareto front marked",
    "differences": "Differences from the reference with their intervals",
}


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path, help="the page, of Markdown")
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit with 2 if they differ",
    )
    parser.add_argument(
        "--complete",
        action="store_true",
        help="write nothing and exit with 2 if a plan of a mark has no results",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=DOCS / "evidence",
        metavar="FOLDER",
        help="the results of the plans (default: docs/evidence)",
    )
    parser.add_argument(
        "--images",
        type=Path,
        default=DOCS / "images",
        metavar="FOLDER",
        help="where the pictures are (default: docs/images)",
    )
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> None:
    """Write the page, or say what is out of date.

    Raises:
        ConfigError: As in `Page`; with `--check`, something is out of date; with
            `--complete`, results are missing.
    """
    page = Page(args.page, args.data, args.images)
    names = page.out_of_date()
    missing = f"without results in {args.data}: {', '.join(sorted(page.missing))}"
    if args.check and names:
        raise ConfigError(
            f"out of date: {', '.join(names)}; {COMMAND} {args.page} writes them anew"
        )
    if args.complete and page.missing:
        raise ConfigError(missing)
    if not args.check:
        page.write()
    print(f"{len(names)} of {len(page.pictures) + 1} files were out of date")
    if page.missing:
        print(missing)


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
