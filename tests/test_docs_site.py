"""The site builds without a warning, needs no network, and its links lead on."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from doc_pages import PAGES, ROOT, name_of
from mkdocs.config import load_config

import attnpool_mm.models
import attnpool_mm.pooling


class Page(HTMLParser):
    """What a page of HTML loads, links to, and can be linked at."""

    def __init__(self, path):
        super().__init__()
        self.loads, self.links, self.anchors = [], [], {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs.get("id"), attrs.get("name") if tag == "a" else None}
        if tag == "a" and "href" in attrs:
            self.links.append(attrs["href"])
        elif tag == "link" and "href" in attrs:
            self.loads.append(attrs["href"])
        elif "src" in attrs:
            self.loads.append(attrs["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, as `make docs` builds it, and what was said."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_page_is_on_the_site(site):
    for page in PAGES:
        name = name_of(page).removeprefix("docs/").replace("README.md", "index.md")
        assert (site / name).with_suffix(".html").is_file()


def test_links_lead_to_files_and_headings(site, pages):
    broken = []
    for path, page in pages.items():
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve()
            target = target if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            known = pages[target].anchors if target in pages else {""}
            if not target.is_file() or unquote(parts.fragment) not in known:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(pages):
    loads = {load for page in pages.values() for load in page.loads}
    assert {
        load for load in loads if urlsplit(load).scheme not in ("", "data")
    } == set()


@pytest.mark.parametrize("package", [attnpool_mm.pooling, attnpool_mm.models])
def test_the_api_has_what_is_exported(package, site, pages):
    page = pages[site / "api" / f"{package.__name__.split('.')[-1]}.html"]
    names = {str(anchor).split(".")[-1] for anchor in page.anchors}
    assert set(package.__all__) <= names


def test_formulas_are_drawn(site):
    html = (site / "api" / "pooling.html").read_text()
    assert html.count("<math") >= 8
    assert "math::" not in html and ":math:" not in html and "\\(" not in html


@pytest.fixture(scope="module")
def hooks():
    return load_config(str(ROOT / "mkdocs.yml")).hooks["docs/_site/hooks.py"]


def test_a_notebook_is_a_page(hooks):
    outputs = [
        dict(output_type="stream", text=["one\n"]),
        dict(data={"text/plain": ["<Figure>"], "image/jpeg": "abc\n"}),
    ]
    page = hooks.notebook_page(
        [
            dict(cell_type="markdown", source=["# Title\n", "text"]),
            dict(cell_type="code", source=["print('one')"], outputs=outputs),
        ]
    )
    assert page.split("\n\n") == [
        "# Title\ntext",
        "````python\nprint('one')\n````",
        "````text\none\n````",
        "![](data:image/jpeg;base64,abc)",
    ]


def test_a_page_without_a_place_comes_under_more(hooks):
    config = load_config(str(ROOT / "mkdocs.yml"))
    config.nav = ["index.md", {"Last": ["CHANGELOG.md"]}]
    (more,) = [part["More"] for part in hooks.on_config(config).nav if "More" in part]
    assert "pools.md" in more and "deployment/onnx.md" in more
    assert "index.md" not in more
