"""The README's Python blocks do what the text around them says."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config
from test_configs import build_model, fake_batch, train_and_predict

from attnpool_mm.pooling import SelfAttentivePool2d

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
CONFIGS = [block for block in BLOCKS if block.startswith("_base_")]


def test_layer(capsys):
    (block,) = [block for block in BLOCKS if block not in CONFIGS]
    expected = re.search(r"# (.*)", block)[1]
    exec(block, {})
    assert capsys.readouterr().out.strip() == expected


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
