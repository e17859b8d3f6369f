"""Attention in the residual blocks of every backbone."""

import math

import pytest
import torch
from backbone_specs import (
    WITH_STEM_POOL,
    CifarBasic,
    Mobilenet,
    Resnet,
    build,
    each,
    images,
    loss_and_gradients,
    plain_shapes,
    stages,
)
from mmengine.config import Config
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import DefaultScope
from mmengine.runner import save_checkpoint
from mmpretrain.models.utils import SELayer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from attnpool_mm.layers import SPEM
from attnpool_mm.models.attention import ATTENTION_NAMES, build_attention
from attnpool_mm.registry import MODELS
from attnpool_mm.utils.errors import ConfigError

NLP = dict(type="SelfAttentivePool2d", normalize=False)
ATTENTION = dict(type="SPEM")
# The factor of a fresh SPEM, whose w1 and w2 are 0, and b1 and b2 are -1.
FRESH = 1 / (1 + math.exp(2)) / (1 + math.exp(1))

ALL = each((*WITH_STEM_POOL, CifarBasic))
WITH_AND_WITHOUT_POOL = pytest.mark.parametrize(
    "spec, pool_cfg",
    [(spec, None) for spec in (*WITH_STEM_POOL, CifarBasic)]
    + [(Resnet, NLP), (Mobilenet, NLP)],
    ids=lambda v: getattr(v, "id", "pool" if v else ""),
)


def blocks(backbone, spec):
    children = [c for stage in stages(backbone, spec) for c in stage.named_children()]
    return [block for name, block in children if name != "pool"]


def last_norm(block):
    return [
        module
        for name, module in block.named_modules()
        if isinstance(module, _BatchNorm) and "downsample" not in name
    ][-1]


def randomize(backbone):
    """Leave the constant factor: every channel its own attention."""
    for layer in backbone.modules():
        if isinstance(layer, SPEM):
            for parameter in layer.parameters():
                nn.init.normal_(parameter)


@WITH_AND_WITHOUT_POOL
def test_it_is_between_the_last_norm_and_the_sum(spec, pool_cfg):
    # A factor there is the same factor on the norm's weight and bias.
    plain = build(spec, pool_cfg=pool_cfg).double()
    ours = build(spec, pool_cfg=pool_cfg, attention_cfg=ATTENTION).double()
    for parameter in plain.parameters():
        nn.init.uniform_(parameter, -0.1, 0.3)
    ours.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        for block in blocks(plain, spec):
            last_norm(block).weight *= FRESH
            last_norm(block).bias *= FRESH
    x = images(spec.size // 2).double()
    for training in (True, False):
        plain.train(training)
        ours.train(training)
        for out, expected in zip(ours(x), plain(x), strict=True):
            torch.testing.assert_close(out, expected)


@WITH_AND_WITHOUT_POOL
def test_the_plain_weights_load(spec, pool_cfg, tmp_path):
    parent = spec.parent()
    path = str(tmp_path / "parent.pth")
    save_checkpoint(dict(state_dict=parent.state_dict()), path)
    init_cfg = dict(type="Pretrained", checkpoint=path)
    ours = build(spec, pool_cfg=pool_cfg, attention_cfg=ATTENTION, init_cfg=init_cfg)
    missing, unexpected = ours.load_state_dict(parent.state_dict(), strict=False)
    assert unexpected == []
    attention = [key for key in missing if ".pool." not in key]
    assert len(attention) == 5 * len(blocks(parent, spec))
    inner = "conv." if spec.id == "mobilenet_v2" else ""
    assert f"layer1.0.{inner}attention.w1" in attention
    assert all(f".{inner}attention." in key for key in attention)

    for parameter in ours.parameters():
        nn.init.zeros_(parameter)
    ours.init_weights()
    loaded = ours.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in parent.state_dict().items())


def test_without_it_the_blocks_are_the_parents():
    expected = [type(block) for block in blocks(Resnet.parent(), Resnet)]
    assert [type(block) for block in blocks(build(Resnet), Resnet)] == expected


@WITH_AND_WITHOUT_POOL
def test_gradients_reach_every_parameter(spec, pool_cfg):
    backbone = build(spec, pool_cfg=pool_cfg, attention_cfg=ATTENTION)
    randomize(backbone)
    sum(out.square().sum() for out in backbone(images(spec.size))).backward()
    zero = [
        name
        for name, p in backbone.named_parameters()
        if p.grad is None or "attention" in name and not p.grad.any()
    ]
    assert zero == []


@ALL
def test_frozen_stages_freeze_it(spec):
    backbone = build(spec, pool_cfg=NLP, attention_cfg=ATTENTION, frozen_stages=2)
    backbone.train()
    trainable = {
        name.split(".")[0]
        for name, p in backbone.named_parameters()
        if "attention" in name and p.requires_grad
    }
    assert trainable == {f"layer{i}" for i in range(3, len(spec.strides) + 1)}
    assert {block.training for block in blocks(backbone, spec)} == {False, True}


@ALL
def test_norm_eval_covers_its_norms(spec):
    attention = dict(type="NonLocal2d", norm_cfg=dict(type="BN"))
    backbone = build(spec, attention_cfg=attention, norm_eval=True)
    backbone.train()
    norms = [m for m in backbone.modules() if isinstance(m, _BatchNorm)]
    plain = [m for m in build(spec).modules() if isinstance(m, _BatchNorm)]
    assert len(norms) > len(plain) and not any(norm.training for norm in norms)


@each((Resnet, Mobilenet))
def test_with_cp_gives_the_same(spec):
    kwargs = dict(pool_cfg=NLP, attention_cfg=ATTENTION)
    plain, checkpointed = build(spec, **kwargs), build(spec, with_cp=True, **kwargs)
    randomize(plain)
    checkpointed.load_state_dict(plain.state_dict())
    # In float64, in which only rounding differs
    x = images(spec.size).double().requires_grad_()
    expected = loss_and_gradients(plain.double(), x)
    actual = loss_and_gradients(checkpointed.double(), x)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("spec, scope", [
    *((spec, "mmdet") for spec in WITH_STEM_POOL), (Resnet, "mmpretrain"),
], ids=lambda v: getattr(v, "id", v))  # fmt: skip
def test_builds_in_both_frameworks(spec, scope, tmp_path):
    kwargs = {**spec.kwargs, "out_indices": list(spec.kwargs["out_indices"])}
    name = f"attnpool_mm.{spec.cls.__name__}"
    model = dict(kwargs, type=name, attention_cfg=ATTENTION)
    (tmp_path / "config.py").write_text(f"model = {model!r}\n")
    cfg = Config.fromfile(tmp_path / "config.py")
    with DefaultScope.overwrite_default_scope(scope):
        backbone = MMENGINE_MODELS.build(cfg.model)
    layers = [m for m in backbone.modules() if isinstance(m, SPEM)]
    assert len(layers) == len(blocks(backbone, spec))
    assert [o.shape for o in backbone(images(spec.size))] == plain_shapes(spec)


@pytest.mark.parametrize("scope", ["mmdet", "mmpretrain"])
@pytest.mark.parametrize("name", ATTENTION_NAMES)
def test_builds_every_layer(scope, name):
    attention = dict(type=name)
    if name == "ContextBlock":
        attention["ratio"] = 1 / 4
    with DefaultScope.overwrite_default_scope(scope):
        backbone = build(CifarBasic, depth=8, attention_cfg=attention)
    layers = [m for m in backbone.modules() if type(m).__name__ == name]
    assert len(layers) == 3
    assert [o.shape[3] for o in backbone(images(32))] == [32, 16, 8]
    assert backbone.out_strides == (1, 2, 4)


@ALL
def test_a_layer_for_each_stage(spec):
    attention = [dict(type="SPEM", alpha=i / 10) for i in range(len(spec.strides))]
    attention[1] = None
    attention[2] = dict(type="SELayer")
    backbone = build(spec, attention_cfg=attention)
    for i, stage in enumerate(stages(backbone, spec)):
        spem = [m.alpha for m in stage.modules() if isinstance(m, SPEM)]
        se = [m for m in stage.modules() if isinstance(m, SELayer)]
        assert spem == ([] if i in (1, 2) else [i / 10] * len(stage))
        assert len(se) == (len(stage) if i == 2 else 0)


def test_a_wide_stride_without_a_pool():
    # Where the blocks are built anew by their stride
    strides = (4, *Mobilenet.strides[1:])
    ours = build(Mobilenet, strides=strides, attention_cfg=ATTENTION)
    assert [out.shape[3] for out in ours(images(64))] == [8, 4, 2, 1, 1, 1, 1, 1]


def test_layer_depth_of_attention_is_that_of_its_block():
    backbone = build(Resnet, depth=50, attention_cfg=ATTENTION)
    name = "backbone.layer3.4.{}"
    depths = {
        backbone.get_layer_depth(name.format(end), "backbone.")
        for end in ("attention.w1", "conv1.weight")
    }
    assert len(depths) == 1


@pytest.mark.parametrize("depth, norm", [(18, "bn2"), (50, "bn3")])
def test_zero_init_residual(depth, norm):
    backbone = build(Resnet, depth=depth, attention_cfg=ATTENTION)
    backbone.init_weights()
    assert all((getattr(b, norm).weight == 0).all() for b in blocks(backbone, Resnet))
    fresh = SPEM(8).state_dict()
    for layer in (m for m in backbone.modules() if isinstance(m, SPEM)):
        for key, value in layer.state_dict().items():
            assert (value == fresh[key].flatten()[0]).all()


@pytest.mark.parametrize("depth", [18, 50])
def test_stochastic_depth_drops_the_attended_branch(depth):
    kwargs = dict(depth=depth, drop_path_rate=0.5, attention_cfg=ATTENTION)
    block = build(Resnet, **kwargs).layer4[-1]  # the rate grows to 0.5 there
    randomize(block)
    x = torch.rand(16, block.in_channels, 2, 2)
    block.eval()
    branch = []
    block.attention.register_forward_hook(lambda _, x, y: branch.append(y.clone()))
    block(x)
    block.stochastic_depth.train()
    out = block(x)
    dropped = (out == x.relu()).flatten(1).all(1)
    kept = (x + branch[-1] / 0.5).relu()
    assert 0 < dropped.sum() < len(x)
    torch.testing.assert_close(out[~dropped], kept[~dropped])


@pytest.mark.parametrize("depth", [18, 50])
def test_a_traced_graph_is_the_same_function(depth):
    # Quantisation and feature extraction trace modules by their names.
    stage = build(Resnet, depth=depth, attention_cfg=dict(type="SELayer")).layer1
    stage.eval()
    x = torch.rand(1, stage[0].in_channels, 8, 8)
    assert torch.equal(torch.fx.symbolic_trace(stage)(x), stage(x))


def test_any_registered_layer_and_any_class():
    @MODELS.register_module()
    class Twice(nn.Module):
        def __init__(self, channels, factor=2):
            super().__init__()
            self.channels, self.factor = channels, factor

        def forward(self, x):
            return self.factor * x

    try:
        for name in ("Twice", "attnpool_mm.Twice", Twice):
            layer = build_attention(dict(type=name, factor=3), 8)
            assert type(layer) is Twice and (layer.channels, layer.factor) == (8, 3)
    finally:
        MODELS.module_dict.pop("Twice")
    assert build_attention(dict(type=SPEM, alpha=0.5), 4).alpha == 0.5


def test_arguments_reach_the_layer():
    backbone = build(Resnet, attention_cfg=dict(type="SELayer", squeeze_channels=5))
    layers = [m for m in backbone.modules() if isinstance(m, SELayer)]
    assert {layer.conv1.out_channels for layer in layers} == {5}
    assert layers[0].conv1.in_channels == 16


def check_error(function, message):
    with pytest.raises(ConfigError, match=message) as error:
        function()
    assert "\n" not in str(error.value)


@ALL
@pytest.mark.parametrize("cfg, message", [
    ("SPEM", "attention_cfg='SPEM'"),
    ([ATTENTION], r"attention_cfg=\[{'type': 'SPEM'}\]"),
], ids=str)  # fmt: skip
def test_bad_arguments_of_backbones(spec, cfg, message):
    check_error(lambda: build(spec, attention_cfg=cfg), message)


def test_a_bad_entry():
    entries = ["SPEM", None, None, None]
    message = r"attention_cfg=\['SPEM', None"
    check_error(lambda: build(Resnet, attention_cfg=entries), message)


@pytest.mark.parametrize("cfg, message", [
    (dict(alpha=0.1), "attention_cfg={'alpha': 0.1}: .*'type'"),
    (dict(type="NoAttention"), "type='NoAttention'.*SPEM"),
    (dict(type="mmdet.NoAttention"), "type='mmdet.NoAttention'"),
    (dict(type=3), "type=3"),
    (dict(type="ReLU"), "type='ReLU': .*in_channels"),
    (dict(type="SPEM", ratio=16), "SPEM .* ratio: .*in_channels"),
    (dict(type="SPEM", alpha=-1), "alpha=-1"),
    (dict(type="ContextBlock"), "ContextBlock: ratio"),
    (dict(type="DynamicConv2d"), "DynamicConv2d: .*kernel_size"),
    (dict(type="MaxPool2d"), "type='MaxPool2d'"),
    (dict(type="SELayer", return_weight=True), r"type='SELayer': .*\(1, 8, 1, 1\)"),
], ids=str)  # fmt: skip
def test_bad_arguments(cfg, message):
    check_error(lambda: build_attention(cfg, 8), message)
