"""The README's Python blocks do what the text around them says."""

import re
from pathlib import Path

import pytest
import torch
from config_runs import build_model, fake_batch, train_and_predict
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS
from mmengine.registry import MODELS as ENGINE_MODELS

from attnpool_mm.pooling import SelfAttentivePool2d, build_pool
from attnpool_mm.registry import MODELS

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
CONFIGS = [block for block in BLOCKS if block.startswith("_base_")]


def test_layer(capsys):
    block = BLOCKS[0]
    expected = re.search(r"# (.*)", block)[1]
    exec(block, {})
    assert capsys.readouterr().out.strip() == expected


def test_own_pool():
    (block,) = [block for block in BLOCKS if "register_module" in block]
    try:
        exec(block, {})
        pool = build_pool(dict(type="ExponentialPool2d"), 3, 2)
    finally:
        MODELS.module_dict.pop("ExponentialPool2d", None)
    x = torch.tensor([[[[0.0, 0.0], [0.0, 10.0]]]])
    assert pool(x).item() > 9.9  # nearly the largest


@pytest.mark.parametrize("block", CONFIGS, ids=["three_lines", "own_coco", "variant"])
def test_configs(block, tmp_path):
    block = block.replace("'configs/", f"'{ROOT}/configs/")
    block = block.replace("'./", f"'{ROOT}/configs/classification/digits/")
    path = tmp_path / "config.py"
    path.write_text(block)
    cfg = Config.fromfile(path)
    model = build_model(cfg)
    train_and_predict(model, fake_batch(cfg))
    pools = [m for m in model.modules() if isinstance(m, SelfAttentivePool2d)]
    assert len(pools) == 3


def test_any_network(capsys):
    (in_python,) = [block for block in BLOCKS if "pool_downsampling" in block]
    (in_config,) = [block for block in BLOCKS if "PooledBackbone" in block]
    exec(in_python, {})
    assert capsys.readouterr().out.startswith("SelfAttentivePool2d")
    names: dict = {}
    exec(in_config, names)
    backbone = ENGINE_MODELS.build(names["backbone"])
    assert type(backbone.layer4.pool).__name__ == "LocalImportancePool2d"


def test_keyword_backbone():
    (block,) = [block for block in BLOCKS if "AttnPoolBackbone" in block]
    names: dict = {}
    exec(block, names)
    backbone = ENGINE_MODELS.build(names["backbone"])
    assert backbone.layer4.pool.normalize is False


def test_spem():
    (block,) = [block for block in BLOCKS if "attention_cfg" in block]
    names: dict = {}
    exec(block, names)
    cfg = Config.fromfile(
        ROOT / "configs/classification/digits/resnet18-nlp-stage-end_1xb64_digits.py"
    )
    cfg.merge_from_dict({k: v for k, v in names.items() if not k.startswith("__")})
    model = build_model(cfg)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    decays = {group["weight_decay"] for group in wrapper.optimizer.param_groups}
    assert decays == {5e-4, 0.2 + 5e-4}
    assert HOOKS.build(cfg.custom_hooks[0]).interval == 10
    train_and_predict(model, fake_batch(cfg))
