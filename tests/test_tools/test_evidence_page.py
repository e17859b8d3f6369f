"""`evidence_page.py`: a page from the results of plans."""

import json
import re
from dataclasses import replace
from statistics import fmean

import pytest
from evidence_results import made_up
from tool_modules import load_tool

from attnpool_mm.analysis.evidence import summaries
from attnpool_mm.analysis.evidence_file import parse_results

AVERAGE = 'pool="average" strides=aggressive'
OTHER = "metric=shift_consistency reference=pool=LIP strides=aggressive"
PAGE = f"""# Title

<!-- runs: made_up --><!-- end -->

<!-- table: made_up value difference across=strides -->
what was here
<!-- end -->

<!-- verdicts: made_up strides=standard --><!-- end -->

<!-- plot: made_up differences strides=standard --><!-- end -->

Average pools give <!-- value: made_up points {AVERAGE} -->0<!-- end --> points more.

<!-- table: made_up value points {OTHER} --><!-- end -->

Over all strides: <!-- value: made_up mean pool=max over=strides -->0<!-- end --> %.

<!-- table: not-yet value --><!-- end -->
"""


@pytest.fixture(scope="module")
def tool():
    return load_tool("analysis_tools/evidence_page.py")


@pytest.fixture
def folder(tmp_path):
    """Options that name a page of made-up results."""
    (tmp_path / "page.md").write_text(PAGE)
    (tmp_path / "made_up.json").write_text(json.dumps(made_up()))
    return tmp_path


def options(folder, *more):
    return (
        *(folder / "page.md", "--data", folder, "--images", folder / "images"),
        *more,
    )


def test_the_page_is_filled_and_then_up_to_date(tool, folder, output_of, error_of):
    assert "evidence-made_up-differences" in error_of(tool, *options(folder, "--check"))
    assert (folder / "page.md").read_text() == PAGE  # --check writes nothing
    printed = output_of(tool, *options(folder))
    assert "not-yet" in printed  # which has no results
    text = (folder / "page.md").read_text()
    assert "what was here" not in text and "126 of 126 runs" in text
    lines = [line for line in text.splitlines() if line.startswith("| average ")]
    (row,) = summaries(
        parse_results(made_up()), where=dict(pool="average", strides="aggressive")
    )
    points = f"{row.difference.mean:+.2f}".replace("-", "−")
    assert len(lines) == 2 and f"{row.mean:.2f} ± {row.std:.2f}" in lines[0]
    assert points in lines[0] and f"-->{points}<!-- end --> points more" in text
    (link,) = re.findall(r"\]\((.*)\)", text)
    assert (folder / link).is_file() and "<svg" in (folder / link).read_text()
    assert "Not run yet: not-yet" in text
    rows = summaries(parse_results(made_up()), where=dict(pool="max"))
    assert f"-->{fmean(row.mean for row in rows):.2f}<!-- end --> %" in text
    results = replace(parse_results(made_up()), reference=dict(pool="LIP"))
    (row,) = summaries(
        results, "shift_consistency", dict(pool="average", strides="aggressive")
    )
    points = f"{row.difference.mean:+.2f}".replace("-", "−")
    assert f"{row.mean:.2f} ± {row.std:.2f}" in lines[1] and points in lines[1]
    assert re.findall(r"<!-- .*? -->", text) == re.findall(r"<!-- .*? -->", PAGE)

    picture = (folder / link).read_bytes()
    output_of(tool, *options(folder, "--check"))
    assert "not-yet" in error_of(tool, *options(folder, "--check", "--complete"))
    output_of(tool, *options(folder))
    assert (folder / "page.md").read_text() == text
    assert (folder / link).read_bytes() == picture
    named = "<!-- note: no mark -->\n" + text.replace("not-yet", "made_up")
    (folder / "page.md").write_text(named)
    output_of(tool, *options(folder))
    output_of(tool, *options(folder, "--check", "--complete"))


def test_other_results_put_page_and_picture_out_of_date(
    tool, folder, output_of, error_of
):
    output_of(tool, *options(folder))
    content = made_up()
    content["runs"][0]["epochs"][-1]["accuracy/top1"] += 1
    (folder / "made_up.json").write_text(json.dumps(content))
    error = error_of(tool, *options(folder, "--check"))
    assert "page.md" in error and ".svg" in error


def test_a_number_changed_by_hand_is_out_of_date(tool, folder, output_of, error_of):
    output_of(tool, *options(folder))
    path = folder / "page.md"
    path.write_text(re.sub(r"-->[+−]?[\d.]+<!-- end -->", "-->9.99<!-- end -->",
                           path.read_text()))  # fmt: skip
    error = error_of(tool, *options(folder, "--check"))
    assert "page.md" in error and ".svg" not in error


@pytest.mark.parametrize(
    ("page", "named"),
    [
        ("No mark.", "0 marks"),
        ("<!-- table: made_up --> no end", "1 marks"),
        ("<!-- runs: made_up --> <!-- runs: made_up --><!-- end -->", "2 marks"),
        ("<!-- tabel: made_up --><!-- end -->", "'tabel'"),
        ("<!-- table: made_up flop --><!-- end -->", "'flops'"),
        ("<!-- table: made_up pool=LIP pool=max --><!-- end -->", "once"),
        ("<!-- table: made_up value pool=lip --><!-- end -->", "'LIP'"),
        ("<!-- table: made_up value across=pools --><!-- end -->", "'pool'"),
        ("<!-- table: made_up value pool='LIP --><!-- end -->", "quotation"),
        ("<!-- value: made_up value pool=LIP --><!-- end -->", "3 combinations"),
        ("<!-- value: made_up pool=LIP strides=standard --><!-- end -->", "0 columns"),
        ("<!-- table: made_up value reference=pool=lip --><!-- end -->", "'LIP'"),
        ("<!-- table: made_up value metric=top --><!-- end -->", "accuracy/top1"),
        ("<!-- table: made_up value over=stride --><!-- end -->", "'strides'"),
        ("<!-- table: made_up value over=pool --><!-- end -->", "over=pool"),
        ("<!-- table: made_up value over=strides costs=no --><!-- end -->", "'no'"),
        ("<!-- table: made_up value costs=standard --><!-- end -->", "costs"),
        ("<!-- table: made_up change:top --><!-- end -->", "top"),
        ("<!-- plot: made_up curve --><!-- end -->", "'curve'"),
        ("<!-- plot: made_up tradeoff peak --><!-- end -->", "peak_fused"),
        ("<!-- runs: broken --><!-- end -->", "broken.json"),
        ("<!-- runs: made_up pool=LIP --><!-- end -->", "pool"),
        ("<!-- runs: made_up metric=top --><!-- end -->", "metric"),
        ("<!-- verdicts: made_up value --><!-- end -->", "value"),
        ("<!-- plot: made_up differences flops --><!-- end -->", "flops"),
    ],
)
def test_a_mark_that_cannot_be_filled(tool, folder, error_of, page, named):
    (folder / "page.md").write_text(page)
    (folder / "broken.json").write_text("{}x")
    assert named in error_of(tool, *options(folder))
    assert (folder / "page.md").read_text() == page


def test_what_has_no_results_yet_is_not_drawn(tool, folder, output_of):
    content = made_up()
    content["runs"] = content["runs"][:1]  # no reference
    (folder / "made_up.json").write_text(json.dumps(content))
    (folder / "page.md").write_text(
        "<!-- plot: made_up differences --><!-- end -->"
        "<!-- plot: made_up tradeoff --><!-- end -->"
    )
    output_of(tool, *options(folder))
    text = (folder / "page.md").read_text()
    assert "Nothing to draw yet" in text and text.count(".svg") == 1


def test_there_is_no_page(tool, folder, error_of):
    assert "other.md" in error_of(tool, folder / "other.md")
