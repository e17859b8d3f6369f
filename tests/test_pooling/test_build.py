import subprocess
import sys

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from attnpool_mm.pooling import SelfAttentivePool2d, build_pool
from attnpool_mm.utils.errors import ConfigError


@pytest.mark.parametrize("scope", ["mmengine", "mmdet", "mmpretrain", "attnpool_mm"])
def test_bare_names_are_ours_in_every_scope(scope):
    with DefaultScope.overwrite_default_scope(scope):
        pool = build_pool(dict(type="SelfAttentivePool2d", num_heads=4), 8, 2)
        by_prefix = MODELS.build(
            dict(type="attnpool_mm.SelfAttentivePool2d", in_channels=8)
        )
    assert type(pool) is type(by_prefix) is SelfAttentivePool2d
    assert (pool.in_channels, pool.stride, pool.attention.num_heads) == (8, 2, 4)


def test_the_config_is_not_changed():
    cfg = dict(type="MaxPool2d", stride=3)
    assert build_pool(cfg, 8, 2).stride == 3
    assert cfg == dict(type="MaxPool2d", stride=3)


def test_other_peoples_pools():
    @MODELS.register_module()
    class EveryOtherPixel(nn.Module):
        def __init__(self, in_channels, stride):
            super().__init__()
            self.stride = stride

        def forward(self, x):
            return x[..., :: self.stride, :: self.stride]

    try:
        pool = build_pool(dict(type="EveryOtherPixel"), 4, 2)
    finally:
        del MODELS.module_dict["EveryOtherPixel"]
    x = torch.rand(1, 4, 6, 6)
    assert torch.equal(pool(x), x[..., ::2, ::2])


def test_a_name_that_is_ours_and_anothers():
    class SoftPool2d(nn.Module):
        pass

    MODELS.module_dict["SoftPool2d"] = SoftPool2d
    try:
        with pytest.raises(ConfigError, match=r"test_build\.SoftPool2d .*attnpool"):
            build_pool(dict(type="SoftPool2d"), 4, 2)
        assert build_pool(dict(type="attnpool_mm.SoftPool2d"), 4, 2).stride == 2
    finally:
        del MODELS.module_dict["SoftPool2d"]


@pytest.mark.parametrize("cfg, message", [
    (dict(type="SelfAttentivPool2d"), "type='SelfAttentivPool2d'.*AttentionPool2d"),
    (dict(type="nosuch.Pool"), "type='nosuch.Pool'"),
    (dict(num_heads=2), "{'num_heads': 2}"),
    ("MaxPool2d", "'MaxPool2d'"),
    (dict(type="SelfAttentivePool2d", heads=2), "heads.*num_heads"),
    (dict(type="Conv2d"), "kernel_size, out_channels"),
    (dict(type="torch.nn.ReLU"), "torch.nn.ReLU.*in_channels.*inplace"),
])  # fmt: skip
def test_bad_configs(cfg, message):
    with pytest.raises(ConfigError, match=message) as error:
        build_pool(cfg, 4, 2)
    assert "\n" not in str(error.value)


def test_pools_need_torch_and_mmengine_alone():
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['mmcv', 'mmpretrain', 'mmdet']))\n"
        "import torch\n"
        "from attnpool_mm.pooling import build_pool, pool_names\n"
        "for prefix in ('', 'attnpool_mm.'):\n"
        "    for name in pool_names():\n"
        "        pool = build_pool(dict(type=prefix + name), 4, 2)\n"
        "        assert pool(torch.rand(2, 4, 4, 4)).shape == (2, 4, 2, 2)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
