"""What MkDocs does not do by itself for the site (mkdocs.yml).

- README.md, CONTRIBUTING.md and others are pages where they lie; links between files of
  the repository become links of the site. A file of the repository that a page links
  to, and that is none itself, is shown on a page of its own.
- Each package has a page with what is public in it, from the docstrings.
- Formulas become MathML, which browsers draw without a script.
"""

import ast
import json
import posixpath
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "configs/README.md": "configs/README.md",
}
FILES = {place: path for path, place in PAGES.items()}
PACKAGES = (
    *("pooling", "layers", "models", "datasets", "checkpoint"),
    *("analysis", "deploy", "engine", "apis", "utils"),
)
PICTURES = ("image/png", "image/jpeg")
LINK = re.compile(r"(?<=\]\()[^)\s#]+")
FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.S
)
WORD = re.compile(r"\\(?:begin|end){\w+}|\\[A-Za-z]+|([A-Za-z]{2,})")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Complete the navigation: the API, and pages that it does not name."""
    named = set(_pages_of(config.nav))
    more = sorted(_place(path.relative_to(ROOT).as_posix()) for path in _documents())
    more = [place for place in more if place not in named]
    if more:
        config.nav.insert(-1, {"More": more})
    config.nav.insert(-1, {"API": [f"api/{name}.md" for name in PACKAGES]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/."""
    for path in [*PAGES, *_notebooks()]:
        files.append(File.generated(config, _place(path), content=_text(path)))
    for name in PACKAGES:
        page = File.generated(config, f"api/{name}.md", content=api_page(name))
        files.append(page)
    sources = set()
    for path in [*PAGES, *_notebooks(), *(p.relative_to(ROOT) for p in _documents())]:
        links = LINK.findall(_text(str(path)))
        sources |= {_target(str(path), link) for link in links} - {None}
    for path in sorted(sources):
        if _place(path).startswith("source/"):
            page = File.generated(config, _place(path), content=source_page(path))
            page.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(page)
    for path in _notebooks():
        files.remove(files.get_file_from_path(path.removeprefix("docs/")))
    return files


def on_page_markdown(markdown: str, page: Page, **kwargs: object) -> str:
    """Point the links to the pages of the site."""
    here = page.file.src_uri
    if here == "index.md":
        page.meta["hide"] = ["navigation"]
    path = FILES.get(here, f"docs/{here}")

    def moved(match: re.Match) -> str:
        target = _target(path, match[0])
        if target is None:
            return match[0]
        return posixpath.relpath(_place(target), posixpath.dirname(here) or ".")

    return LINK.sub(moved, markdown)


def on_page_content(html: str, **kwargs: object) -> str:
    """Draw the formulas."""
    return FORMULA.sub(_mathml, html)


def api_page(package: str) -> str:
    """The page of what is public in a package or module.

    What `__init__.py` exports stands on it, in the order of the files; where it exports
    nothing, all that is public in each file, under the file's name.
    """
    folder = ROOT / "attnpool_mm" / package
    module = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    exported = re.findall(r'"(\w+)"', module.read_text()) if folder.is_dir() else []
    by_file = folder.is_dir() and not exported
    parts = [f"# attnpool_mm.{package}", _docstring(module)]
    for file in sorted(folder.glob("*.py")) or [module]:
        names = [n for n in _public(file) if not exported or n in exported]
        if by_file and names:
            parts += [f"## {package}.{file.stem}", _docstring(file)]
        where = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        level = "\n    options: {heading_level: 3}" if by_file else ""
        parts += [f"::: {where}.{name}{level}" for name in names]
    return "\n\n".join(parts)


def _docstring(file: Path) -> str:
    return ast.get_docstring(ast.parse(file.read_text())) or ""


def _public(file: Path) -> list[str]:
    """The documented classes and functions of a file."""
    return [
        node.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node)
    ]


def source_page(path: str) -> str:
    """The page that shows a file of the repository, or what is in a folder."""
    head = f"---\nsearch: {{exclude: true}}\nhide: [navigation, toc]\n---\n# {path}\n\n"
    if (ROOT / path).is_dir():
        names = sorted(item.name for item in (ROOT / path).iterdir())
        return head + "\n".join(f"- `{name}`" for name in names)
    language = {".py": "python", ".sh": "bash", ".yml": "yaml"}.get(Path(path).suffix)
    return f"{head}````{language or 'text'}\n{(ROOT / path).read_text()}\n````\n"


def notebook_page(cells: list[dict]) -> str:
    """A notebook's cells as Markdown, with what they printed and drew."""
    parts = []
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else _fenced(text))
        for output in cell.get("outputs", ()):
            data = output.get("data", {"text/plain": output.get("text", "")})
            if kind := next((k for k in data if k in PICTURES), None):
                picture = "".join(data[kind]).replace("\n", "")
                parts.append(f"![](data:{kind};base64,{picture})")
            elif text := "".join(data.get("text/plain", "")):
                parts.append(_fenced(text, "text"))
    return "\n\n".join(parts)


def _fenced(text: str, language: str = "python") -> str:
    return f"````{language}\n{text.rstrip()}\n````"


def _documents() -> Iterator[Path]:
    """The pages in docs/."""
    yield from sorted([*DOCS.rglob("*.md"), *DOCS.glob("*.ipynb")])


def _notebooks() -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in sorted(DOCS.glob("*.ipynb"))]


def _text(path: str) -> str:
    """The Markdown of a page of the repository."""
    text = (ROOT / path).read_text()
    return notebook_page(json.loads(text)["cells"]) if path.endswith(".ipynb") else text


def _target(page: str, link: str) -> str | None:
    """The file of the repository that a link of the page `page` means, if any."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    inside = ":" not in link and link[0] != "/" and not path.startswith("..")
    return path if inside and (ROOT / path).exists() else None


def _place(path: str) -> str:
    """Where a file of the repository is on the site."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/") and not (ROOT / path).is_dir():
        return re.sub(r"\.ipynb$", ".md", path.removeprefix("docs/"))
    return f"source/{path}.md"


def _pages_of(nav: list | dict | str) -> Iterator[str]:
    """The pages that a part of the navigation names."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from _pages_of(part)


def _mathml(match: re.Match) -> str:
    """A formula of TeX's as MathML, with words upright."""
    tex = unescape(match["tex"]).strip()
    tex = WORD.sub(lambda m: rf"\text{{{m[1]}}}" if m[1] else m[0], tex)
    return convert(tex, display="block" if match["tag"] == "div" else "inline")
