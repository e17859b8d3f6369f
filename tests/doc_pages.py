"""The pages of the documentation, and what is read off their Markdown."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    ROOT / "configs" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCED = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1$", re.S | re.M)
INLINE = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", re.S)


def name_of(page: Path) -> str:
    """The path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


def python_blocks(page: Path) -> list[str]:
    """The Python in a page."""
    found = FENCED.findall(page.read_text())
    return [code for _, language, code in found if language == "python"]


def links_of(text: str) -> list[str]:
    """What Markdown links to, and the pictures in it."""
    return re.findall(r"\]\(([^)\s]+)", INLINE.sub("", FENCED.sub("", text)))


def anchors_of(text: str) -> list[str]:
    """The anchors that GitHub gives the headings of a page."""
    anchors: list[str] = []
    for heading in re.findall(r"^#+ +(.*)$", FENCED.sub("", text), re.M):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in anchors:
            number += 1
        anchors.append(anchor)
    return anchors
