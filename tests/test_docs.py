"""The numbers in the documentation are what the code gives; its links lead on."""

import json
import posixpath
import re

import pytest
import torch
from doc_pages import PAGES, ROOT, anchors_of, links_of, name_of
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from attnpool_mm.pooling import build_pool

DOCS = ROOT / "docs"
PATHS = r"(?:attnpool_mm|configs|demo|docs|tests|tools)/[\w./-]+\w"
NLP = dict(type="SelfAttentivePool2d", num_heads=2, normalize=False)
DEFORMABLE = dict(type="DeformableSelfAttentivePool2d", num_heads=2)
LIP = dict(type="LocalImportancePool2d")
POOLS = {
    "`maxp`, `avgp`": dict(type="MaxPool2d"),
    "`StridedConv2d`": dict(type="StridedConv2d"),
    "`lip`": LIP,
    "`lip`, original": dict(LIP, form="original"),
    "`lip`, original, b = 128": dict(LIP, form="original", hidden_channels=128),
    "`gaussian_pool`": dict(type="GaussianPool2d"),
    "`nlp`": NLP,
    "`nlp`, p = 2": dict(NLP, patch_size=2),
    "`nlp`, p = 4": dict(NLP, patch_size=4),
    "`nlp`, r = 1/4": dict(NLP, embed_ratio=0.25),
    "`dfmnlp`": DEFORMABLE,
    "`dfmnlp`, p = 2": dict(DEFORMABLE, patch_size=2),
    "`mixp`": dict(
        type="MixedPool2d",
        pools=[LIP, dict(type="SelfAttentivePool2d")],
    ),
    "`dfmixp`, p = 2": dict(
        type="MixedPool2d",
        pools=[dict(DEFORMABLE, patch_size=2), dict(LIP, kernel_size=2)],
    ),
    "`attnpool`": dict(type="AttentionPool2d"),
    "`SoftPool2d`": dict(type="SoftPool2d"),
    "`AdaptiveExponentialPool2d`": dict(type="AdaptiveExponentialPool2d"),
    "`BlurPool2d`, k = 3": dict(type="BlurPool2d"),
}


def cost_table():
    """The rows of the table of costs: name → parameters, millions."""
    text = (DOCS / "pools.md").read_text().split("## Cost")[1].split("\n## ")[0]
    rows = (line.strip("| ").split(" | ") for line in text.splitlines() if "|" in line)
    number = re.compile(r"[\d,.]+")
    return {
        row[0]: tuple(float(cell.replace(",", "")) for cell in row[-2:])
        for row in rows
        if number.fullmatch(row[-1])
    }


def multiplications(pool, x):
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def attention_flops(query, key, value, *args, **kwargs):
        return sdpa_flop_count(query, key, value)

    known = {attention: attention_flops}
    counter = FlopCounterMode(display=False, custom_mapping=known)
    with counter, torch.no_grad():
        pool(x)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("name", POOLS)
def test_cost_of_the_pools(name):
    pool = build_pool(POOLS[name], 64, 2).eval()
    parameters, millions = cost_table()[name]
    assert sum(p.numel() for p in pool.parameters()) == parameters
    counted = multiplications(pool, torch.rand(1, 64, 56, 56)) / 1e6
    assert round(counted, 1) == millions


def test_every_row_is_tested():
    assert set(cost_table()) == set(POOLS)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_are_there(page):
    paths = re.findall(r"(?<!\w)(?<!\w/)" + PATHS, page.read_text())
    configs = {path: ROOT / "configs" / f"{path}.py" for path in paths}  # by name alone
    there = {p for p in paths if (ROOT / p).exists() or configs[p].exists()}
    assert set(paths) <= there


FIRST_PAGE = {
    "`StridedConv2d`": ("`StridedConv2d`", None),
    "`MaxPool2d`, `AvgPool2d`": ("`maxp`, `avgp`", None),
    "`SoftPool2d`": ("`SoftPool2d`", None),
    "`LocalImportancePool2d`": ("`lip`", "lip"),
    "the same, `form='original'`": ("`lip`, original", "lip_original"),
    "`GaussianPool2d`": ("`gaussian_pool`", "gaussian_pool"),
    "`SelfAttentivePool2d`": ("`nlp`", "nlp"),
    "the same, `patch_size=4`": ("`nlp`, p = 4", "nlp_p4_nowin"),
}


def training_step(result):
    """Time and peak memory of a layer, as the README writes them."""
    time, peak = result["median_ms"]["layer"], result["peak_bytes"]["layer"]
    return f"{time:,.0f} ms, {peak / 1e6:.0f} MB"


def test_the_first_page_has_the_numbers_of_the_others():
    text = (ROOT / "README.md").read_text().split("## Results and costs")[1]
    cells = (line.split("|")[1:-1] for line in text.splitlines() if "|" in line)
    rows = [[cell.strip() for cell in row] for row in cells]
    told = {
        row[0]: (*(float(cell.replace(",", "")) for cell in row[-3:-1]), row[-1])
        for row in rows
        if re.fullmatch(r"–|.* ms, .* MB", row[-1])
    }
    measured = json.loads((DOCS / "benchmarks" / "cpu.json").read_text())["results"]
    steps = {
        result["layer"]: training_step(result)
        for result in measured
        if result["size"] == [8, 64, 56, 56] and result["mode"] == "training"
    }
    assert told == {
        layer: (*cost_table()[row], steps.get(key, "–"))
        for layer, (row, key) in FIRST_PAGE.items()
    }


def test_the_first_page_is_one_screen_of_text():
    assert (ROOT / "README.md").read_text().count("\n") < 150


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page):
    broken = []
    for link in links_of(page.read_text()):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = ROOT / posixpath.normpath(page.parent.relative_to(ROOT) / path)
        target = target if path else page
        known = anchors_of(target.read_text()) if target.suffix == ".md" else []
        if not target.exists() or (anchor and anchor not in known):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("## LIP's two forms", "lips-two-forms"),
        ('### What "up to 22×" becomes', "what-up-to-22-becomes"),
        ("# `AttnPoolResNet`, in [a config](x.md)", "attnpoolresnet-in-a-config"),
        ("## Once\n## Once", "once-1"),
        ("```text\n# none\n```\n# One", "one"),
    ],
)
def test_anchors_are_those_of_github(heading, anchor):
    assert anchors_of(heading)[-1] == anchor
