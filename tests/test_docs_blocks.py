"""The Python blocks of the pages do what the text around them says.

A page with tests of its own, in `tests/test_docs_PAGE.py` or where `ELSEWHERE` says, is
left out here. Of the other pages every block is one of four kinds: a config, which is
built, and trained for a step if it changes the backbone; a fragment of one, all
assignments; a class that is registered; and a script, which prints what the comments
beside its `print` say.
"""

import ast
import re

import pytest
import torch
from config_runs import build_model, fake_batch, train_and_predict
from doc_pages import PAGES, ROOT, name_of, python_blocks
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS
from mmengine.registry import MODELS as ENGINE_MODELS

from attnpool_mm.pooling import SelfAttentivePool2d, build_pool
from attnpool_mm.registry import MODELS

ELSEWHERE = {
    "docs/plans.md": "tests/test_engine/test_plan.py",
    "docs/deployment/int8.md": "tests/test_docs_deployment.py",
    "docs/deployment/pruning.md": "tests/test_docs_deployment.py",
}
DIGITS = "configs/classification/digits/resnet18-nlp-stage-end_1xb64_digits.py"
IN_A_CONFIG = {"model", "optim_wrapper", "custom_hooks"}


def has_tests_of_its_own(page):
    path = ELSEWHERE.get(name_of(page), f"tests/test_docs_{page.stem}.py")
    return (ROOT / path).exists()


def kind_of(block):
    if block.startswith("_base_"):
        return "config"
    if "register_module" in block:
        return "class"
    body = ast.parse(block).body
    return "fragment" if all(isinstance(n, ast.Assign) for n in body) else "script"


BLOCKS = [
    (f"{page.stem}-{number}", block)
    for page in PAGES
    if not has_tests_of_its_own(page)
    for number, block in enumerate(python_blocks(page))
]


def of_kind(kind):
    """Run a test with every block of a kind."""
    found = [pytest.param(b, id=name) for name, b in BLOCKS if kind_of(b) == kind]
    return pytest.mark.parametrize("block", found)


def pools_of(model):
    return [m for name, m in model.named_modules() if name.split(".")[-1] == "pool"]


def values_of(fragment):
    names: dict = {}
    exec(fragment, names)
    return {name: v for name, v in names.items() if not name.startswith("__")}


def the_fragment(part):
    """The values of the only fragment that contains `part`."""
    (block,) = [b for _, b in BLOCKS if kind_of(b) == "fragment" and part in b]
    return values_of(block)


@of_kind("script")
def test_scripts_print_what_they_say(block, capsys):
    exec(block, {})
    expected = re.findall(r"^print\(.*\)  # (.*)$", block, re.M)
    assert capsys.readouterr().out.splitlines() == expected


@of_kind("class")
def test_classes_are_found_by_their_names(block):
    known = set(MODELS.module_dict)
    try:
        exec(block, {})
        (name,) = set(MODELS.module_dict) - known
        pool = build_pool(dict(type=name), 3, 2)
    finally:
        for name in set(MODELS.module_dict) - known:
            MODELS.module_dict.pop(name)
    x = torch.tensor([[[[0.0, 0.0], [0.0, 10.0]]]])
    assert pool(x).item() > 9.9  # nearly the largest


@of_kind("config")
def test_configs(block, tmp_path):
    block = block.replace("'configs/", f"'{ROOT}/configs/")
    block = block.replace("'./", f"'{ROOT}/configs/classification/digits/")
    path = tmp_path / "config.py"
    path.write_text(block)
    cfg = Config.fromfile(path)
    model = build_model(cfg)
    if "backbone=" in block:  # another network than that of its base
        train_and_predict(model, fake_batch(cfg))
    pools = [m for m in model.modules() if isinstance(m, SelfAttentivePool2d)]
    assert len(pools) == 3


@of_kind("fragment")
def test_fragments(block):
    values = values_of(block)
    if "backbone" in values:
        backbone = ENGINE_MODELS.build(values.pop("backbone"))
        assert backbone(torch.rand(2, 3, 64, 64)) and pools_of(backbone)
    if "pool_cfg" in values:
        pool = build_pool(values.pop("pool_cfg"), 8, 2)
        assert pool(torch.rand(2, 8, 16, 16)).shape == (2, 8, 8, 8)
    assert set(values) <= IN_A_CONFIG
    cfg = Config.fromfile(ROOT / DIGITS)
    cfg.merge_from_dict(values)
    if "model" in values:
        train_and_predict(build_model(cfg), fake_batch(cfg))
    for hook in values.get("custom_hooks", ()):
        HOOKS.build(hook)


def test_pooled_backbone():
    backbone = ENGINE_MODELS.build(the_fragment("PooledBackbone")["backbone"])
    assert type(backbone.layer4.pool).__name__ == "LocalImportancePool2d"


def test_keyword_backbone():
    backbone = ENGINE_MODELS.build(the_fragment("AttnPoolBackbone")["backbone"])
    assert backbone.layer4.pool.normalize is False


def test_spem():
    cfg = Config.fromfile(ROOT / DIGITS)
    cfg.merge_from_dict(the_fragment("attention_cfg"))
    wrapper = build_optim_wrapper(build_model(cfg), cfg.optim_wrapper)
    decays = {group["weight_decay"] for group in wrapper.optimizer.param_groups}
    assert decays == {5e-4, 0.2 + 5e-4}
    assert HOOKS.build(cfg.custom_hooks[0]).interval == 10


def test_the_three_lines_of_the_first_page():
    kinds = [kind_of(block) for block in python_blocks(ROOT / "README.md")]
    assert kinds == ["script", "script", "config"]
