"""What docs/spem.md says can be run: its configs, its options, its paths."""

import argparse
import re
from pathlib import Path

import pytest
import torch
from config_runs import build_model, fake_batch, train_and_predict
from mmengine.config import Config, DictAction
from torch import nn

from attnpool_mm.engine.launch import KeyValueAction, merge_options
from attnpool_mm.layers import SPEM

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "spem.md").read_text()
CONFIGS = re.findall(r"```python\n(.*?)```", TEXT, re.S)
OPTIONS = re.findall(r"`([a-z_]+\.[\w.]+=[^` ]+)`", TEXT.split("## The CIFAR")[1])
CIFAR = ROOT / "configs/classification/cifar10/resnet164-spem_1xb128_cifar10.py"
# the only options that the configs do not have yet
NEW = {
    "model.backbone.block",
    "model.backbone.attention_cfg.alpha",
    "model.backbone.drop_path_rate",
    "model.head.mid_channels",
    "model.head.dropout_rate",
}


def with_options(*options):
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=KeyValueAction)
    words = [option.replace('"', "") for option in options]  # as the shell does
    cfg = Config.fromfile(CIFAR)
    merge_options(cfg, parser.parse_args(["--cfg-options", *words]).cfg_options)
    return cfg


def value_at(cfg, key):
    value = cfg.to_dict()
    for part in key.split("."):
        value = value.get(part, {})
    return value


@pytest.mark.parametrize("block", CONFIGS, ids=["backbone", "plugin", "by_stage"])
def test_configs(block, tmp_path):
    (tmp_path / "config.py").write_text(block.replace("'configs/", f"'{ROOT}/configs/"))
    cfg = Config.fromfile(tmp_path / "config.py")
    model = build_model(cfg)
    train_and_predict(model, fake_batch(cfg))
    count = {"resnet50": 16, "r50": 16, "resnet18": 6}
    (network,) = [name for name in count if name in block]
    layers = [m for m in model.modules() if isinstance(m, SPEM)]
    assert len(layers) == count[network]


@pytest.mark.parametrize("option", OPTIONS)
def test_options_change_what_is_there(option):
    key, _, text = option.partition("=")
    assert (value_at(Config.fromfile(CIFAR), key) == {}) == (key in NEW)
    expected = DictAction._parse_iterable(text.replace('"', ""))
    assert value_at(with_options(option), key) == expected


def test_options_make_the_network():
    options = """
        model.backbone.block=basic model.backbone.depth=20
        model.backbone.attention_cfg.alpha=0.3 model.backbone.drop_path_rate=0.1
        model.head.type=StackedLinearClsHead model.head.mid_channels=[32]
        model.head.dropout_rate=0.5"""
    cfg = with_options(*options.split())
    model = build_model(cfg)
    train_and_predict(model, fake_batch(cfg, 32))
    layers = [m for m in model.modules() if isinstance(m, SPEM)]
    assert [layer.alpha for layer in layers] == [0.3] * 9
    assert [m.p for m in model.head.modules() if isinstance(m, nn.Dropout)] == [0.5]
    assert model.head.layers[0].fc.in_features == 64
    rates = [block.stochastic_depth for block in model.backbone.layer3]
    assert rates[-1].drop_prob == pytest.approx(0.1)


def test_a_fresh_layer_shuts_most_off():
    x = torch.ones(1, 4, 2, 2)
    assert SPEM(4)(x).mean().item() == pytest.approx(0.03, abs=0.005)
