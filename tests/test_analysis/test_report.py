from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from pages import Page
from PIL import Image

from attnpool_mm.analysis.curves import draw_curves
from attnpool_mm.analysis.report import Picture, Section, render_report

NASTY = "</p><script src='https://example.com/a.js'>alert(\"1\")</script> & <b"


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a&b.png"
    Image.new("RGB", (3, 2), "red").save(path)
    return path


def test_every_picture_is_in_the_page(picture):
    pictures = [Picture(picture, "red"), Picture(Figure(), "a figure", wide=True)]
    page = Page(render_report("A", "B", [Section("C", pictures=pictures)]))
    page.check_self_contained()
    red, figure = page.images
    assert red == ("red", "image/png", picture.read_bytes())
    assert figure[:2] == ("a figure", "image/svg+xml")
    assert ElementTree.fromstring(figure[2]).tag.endswith("}svg")
    assert [page.texts.count(text) for text in ("red", "a figure")] == [1, 1]


def test_texts_are_shown_as_they_are(picture):
    section = Section(
        NASTY, NASTY, table=[(NASTY, "2"), ("3", NASTY)],
        pictures=[Picture(picture, NASTY)],
    )  # fmt: skip
    page = Page(render_report(NASTY, NASTY, [section]))
    page.check_self_contained()
    # title, two headings, two paragraphs, two cells and a caption
    assert page.texts.count(NASTY) == 8
    assert page.images[0][0] == NASTY


def test_a_picture_that_is_missing_is_an_error(tmp_path):
    section = Section("A", pictures=[Picture(tmp_path / "none.png", "none")])
    with pytest.raises(FileNotFoundError):
        render_report("A", "", [section])


def test_curves_are_what_was_logged():
    records = [
        (1, {"loss": 2.0, "iter": 1, "step": 1}),
        (2, {"loss": 1.0, "iter": 2, "step": 2}),
        (2, {"top1": 40.0, "step": 1}),
        (4, {"loss": 0.5, "iter": 4, "step": 4}),
        (4, {"top1": 60.0, "step": 2}),
    ]
    loss, accuracy = draw_curves(records, {"top1": "accuracy"}).axes
    (line,) = loss.lines
    assert line.get_xydata().tolist() == [[1, 2], [2, 1], [4, 0.5]]
    (line,) = accuracy.lines
    assert line.get_xydata().tolist() == [[1, 40], [2, 60]]
    assert accuracy.get_ylabel() == "accuracy"
