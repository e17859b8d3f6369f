"""A report page as a browser takes it apart."""

import base64
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """What is on a page: its images, its texts, what it refers to.

    Attributes:
        images: (alternative text, kind, content) of each image.
        texts: The texts, in order, those of headings and captions too.
        references: The values of all attributes that make a browser fetch something.
        open: The elements that were not closed.
    """

    def __init__(self, html):
        super().__init__()
        self.images, self.texts, self.references, self.open = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        names = ("src", "href", "srcset", "data", "action", "poster", "style")
        self.references += [values[name] for name in names if name in values]
        if tag == "img":
            kind, content = values["src"].removeprefix("data:").split(";base64,")
            content = base64.b64decode(content, validate=True)
            self.images.append((values["alt"], kind, content))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["style"]:
            assert "url(" not in data and "@import" not in data
        elif data.strip():
            self.texts.append(data.strip())

    def check_self_contained(self):
        """Everything was closed, and nothing is outside of the page."""
        assert self.open == []
        assert [r for r in self.references if not r.startswith("data:")] == []
