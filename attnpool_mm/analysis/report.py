"""A page of tables and pictures that is one file: HTML, its pictures inside."""

import base64
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light dark; --line: #8885; --back: #8881; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem;
  max-width: 72rem; }
h1, h2 { line-height: 1.2; margin: 2rem 0 .5rem; }
h1 { margin-top: 1rem; }
p { max-width: 44rem; }
div.table, figure div { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem 1rem .3rem 0;
  text-align: left; vertical-align: top; }
thead th { border-bottom-width: 2px; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
div.figures { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 32rem), 1fr)); }
figure { margin: 0; padding: .5rem; border-radius: .5rem; background: var(--back); }
figure.wide { grid-column: 1 / -1; }
figure img { display: block; width: 100%; min-width: 30rem; height: auto;
  background: white; border-radius: .25rem; }
figcaption { font-size: .9rem; padding: .4rem .2rem 0; }
""".strip()
# Nothing is fetched: no browser does, whatever a text says.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Picture:
    """A picture and what stands below it.

    Args:
        source (Path | Figure): An image file, or a figure of Matplotlib.
        caption (str): Plain text; it describes the picture to who cannot see it, too.
        wide (bool): Whether it takes the page's width. Default: False.
    """

    source: Path | Figure
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, and below it what is given, in this order.

    Args:
        title (str): The heading.
        text (str): A paragraph. Default: ''.
        table (Sequence[Sequence[str]]): Rows of cells; the first row is the table's
            head. Default: ().
        pictures (Sequence[Picture]): Pictures. Default: ().
    """

    title: str
    text: str = ""
    table: Sequence[Sequence[str]] = ()
    pictures: Sequence[Picture] = ()


def render_report(title: str, text: str, sections: Sequence[Section]) -> str:
    """Make the page. All texts are plain; what is markup in them is shown as it is.

    Args:
        title (str): Of the page.
        text (str): The paragraph below it.
        sections (Sequence[Section]): What follows.

    Returns:
        A whole HTML document, which refers to nothing outside of it.

    Raises:
        FileNotFoundError: A picture is not there.

    Example:
        >>> page = render_report('A <b> & c', '', [Section('Costs', 'In kB.')])
        >>> '<h1>A &lt;b&gt; &amp; c</h1>' in page
        True
    """
    body = [f"<h1>{escape(title)}</h1>", *_paragraph(text)]
    for section in sections:
        body += [f"<h2>{escape(section.title)}</h2>", *_paragraph(section.text)]
        body += _table(section.table)
        if section.pictures:
            figures = map(_figure, section.pictures)
            body += ['<div class="figures">', *figures, "</div>"]
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',  # else browsers ask the server for one
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}\n</style>",
    ]
    lines = ["<!DOCTYPE html>", '<html lang="en">', "<head>", *head, "</head>"]
    return "\n".join([*lines, "<body>", *body, "</body>", "</html>", ""])


def _paragraph(text: str) -> list[str]:
    return [f"<p>{escape(text)}</p>"] if text else []


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    head, *others = rows
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = [
        '<div class="table"><table>',
        f"<thead><tr>{cells}</tr></thead>",
        "<tbody>",
    ]
    for row in others:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return [*lines, "</tbody>", "</table></div>"]


def _figure(picture: Picture) -> str:
    caption = escape(picture.caption)
    start = '<figure class="wide">' if picture.wide else "<figure>"
    image = f'<img alt="{caption}" src="{_data_uri(picture.source)}">'
    return f"{start}<div>{image}</div><figcaption>{caption}</figcaption></figure>"


def _data_uri(source: Path | Figure) -> str:
    if isinstance(source, Figure):
        file = BytesIO()
        source.savefig(file, format="svg", metadata={"Date": None})
        kind, content = "image/svg+xml", file.getvalue()
    else:
        kind, content = mimetypes.guess_type(source)[0], source.read_bytes()
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
