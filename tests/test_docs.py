"""The numbers in the documentation are what the code gives."""

import re
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from attnpool_mm.pooling import build_pool

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *DOCS.glob("*.md")]
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_paths_are_there(page):
    paths = re.findall(r"(?<!\w)(?<!\w/)" + PATHS, page.read_text())
    assert [path for path in paths if not (ROOT / path).exists()] == []
