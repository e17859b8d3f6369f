"""docs/evidence.md says what the results in docs/evidence say, and no other number."""

import json
import re
from pathlib import Path

import pytest
from tool_modules import load_tool

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "evidence.md"
GENERATED = re.compile(r"<!-- \w+: .*? -->.*?<!-- end -->", re.DOTALL)
NOT_PROSE = re.compile(r"```.*?```|^    .*?$|`[^`]*`|\]\([^)]*\)", re.DOTALL | re.M)
UNIT = (
    r"(?:\s*%|×(?!\d)|"
    r"\s*(?:points?|per ?cent|kB|MB|MFLOPs|hours?|seconds?|ms|times)\b)"
)
RESULT = re.compile(rf"(?<![\w.])(?<!\w-)\d[\d,]*(?:\.\d+|{UNIT})")


def written_by_hand(text):
    """The numbers in a page's prose that could be results: decimals, or with a unit."""
    return RESULT.findall(NOT_PROSE.sub(" ", GENERATED.sub(" ", text)))


def test_every_number_is_from_the_results():
    assert written_by_hand(PAGE.read_text()) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("LIP is better by 0.31.", ["0.31"]),
        (
            "It takes 1,234 kB, −3 points, 2× the time or 95 % of it.",
            ["1,234 kB", "3 points", "2×", "95 %"],
        ),
        ("It is better by +12.5 points on ResNet-14.", ["12.5"]),
        ("By -0.31, in 5 ms, of 88 per cent.", ["0.31", "5 ms", "88 per cent"]),
        ("60,000 images of 28×28 pixels, 3 seeds, MobileNetV2-0.35, stride 1.", []),
        ("By <!-- value: a points pool=b -->+0.31<!-- end --> with `lr=0.1`.", []),
        ("As in\n\n    python tool.py 0.5\n\nthere.", []),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_counts_as_a_number(text, found):
    assert written_by_hand(text) == found


@pytest.mark.parametrize("path", [PAGE, DOCS.parent / "README.md"])
def test_the_page_is_up_to_date(path):
    tool = load_tool("analysis_tools/evidence_page.py")
    page = tool.Page(path, DOCS / "evidence", DOCS / "images")
    assert page.out_of_date() == []


def test_a_network_that_was_trained_again_gave_the_same():
    first, again = (
        {
            (run["levels"]["pool"], run["seed"]): run["epochs"]
            for run in json.loads((DOCS / f"evidence/{plan}.json").read_text())["runs"]
            if run["levels"].get("strides", "aggressive") == "aggressive"
        }
        for plan in ("classification_resnet14", "equal-flops")
    )
    same = {key for key, epochs in again.items() if epochs == first[key]}
    every_seed = ("average", "max", "blur", "soft")
    but_for_the_first = ("LIP", "Gaussian", "NLP, patch 4")
    assert same == {
        *((pool, seed) for pool in every_seed for seed in range(3)),
        *((pool, seed) for pool in but_for_the_first for seed in (1, 2)),
    }
