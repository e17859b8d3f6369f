"""The docstrings, whose formulas are reStructuredText's, as Markdown."""

import re
from typing import Any

import griffe

BLOCK = re.compile(r"^\.\. math::\n((?:[ \t]+.*\n?|\n)+)", re.M)


def to_markdown(text: str) -> str:
    """The text of a docstring as Markdown."""
    text = BLOCK.sub(_formula, text + "\n")
    text = re.sub(r":math:`([^`]+)`", r"$\1$", text)
    text = re.sub(r":(?:class|func):`~?(?:\w+\.)*(\w+)`", r"`\1`", text)
    return re.sub(r"^Example:$", "Examples:", text, flags=re.M).rstrip()


def _formula(match: re.Match) -> str:
    formula = match[1].strip()
    if "&=" in formula:
        formula = rf"\begin{{split}}{formula}\end{{split}}"
    return f"$$\n{formula}\n$$\n\n"


class DocstringsAsMarkdown(griffe.Extension):
    """What griffe reads of the package, with its docstrings as Markdown."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of every object, once it is read."""
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)
