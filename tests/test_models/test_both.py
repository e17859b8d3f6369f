"""What holds for all backbones alike."""

import pytest
import torch
from backbone_specs import SPECS, Mobilenet, Resnet, build, images, plain_shapes, stages
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import save_checkpoint
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from attnpool_mm.pooling import (
    LocalImportancePool2d,
    SelfAttentivePool2d,
    WeightedPool2d,
    pool_names,
)
from attnpool_mm.utils.errors import ConfigError

NLP = dict(type="SelfAttentivePool2d", normalize=False)
LIP = dict(type="LocalImportancePool2d")


BOTH = pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.id)
PLACES = pytest.mark.parametrize(
    "spec, position",
    [(spec, position) for spec in SPECS for position in spec.positions],
    ids=lambda v: getattr(v, "id", v),
)


@BOTH
def test_without_a_pool_equals_the_parent(spec):
    parent, ours = spec.parent(), build(spec)
    assert list(ours.state_dict()) == list(parent.state_dict())
    ours.load_state_dict(parent.state_dict())
    x = images(spec.size)
    for training in (True, False):
        parent.train(training)
        ours.train(training)
        for out, expected in zip(ours(x), parent(x), strict=True):
            assert torch.equal(out, expected)


@PLACES
def test_the_parents_weights_load_with_only_pool_keys_missing(spec, position, tmp_path):
    parent = spec.parent()
    path = str(tmp_path / "parent.pth")
    state = {f"backbone.{k}": v for k, v in parent.state_dict().items()}
    save_checkpoint(dict(state_dict=state), path)
    pretrained = dict(type="Pretrained", checkpoint=path, prefix="backbone.")
    ours = build(spec, pool_cfg=NLP, pool_position=position, init_cfg=pretrained)
    missing, unexpected = ours.load_state_dict(parent.state_dict(), strict=False)
    assert unexpected == []
    assert missing and all(".pool." in key for key in missing)

    for parameter in ours.parameters():
        nn.init.zeros_(parameter)
    ours.init_weights()
    loaded = ours.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in parent.state_dict().items())


@PLACES
@pytest.mark.parametrize("pool", pool_names())
def test_every_pool_in_every_place(spec, position, pool):
    backbone = build(spec, pool_cfg=dict(type=pool), pool_position=position)
    outs = backbone(images(spec.size))
    assert [o.shape for o in outs] == [
        o.shape for o in spec.parent()(images(spec.size))
    ]
    sum(out.sum() for out in outs).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []


@PLACES
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("pool_cfg", [None, NLP], ids=["strided", "pooled"])
def test_strides(spec, position, stride, pool_cfg):
    strides = (stride, *spec.strides[1:])
    backbone = build(spec, strides=strides, pool_cfg=pool_cfg, pool_position=position)
    side = 2 * spec.size // spec.stem_stride
    sides = []
    for step in strides:
        side = -(-side // step)
        sides.append(side)
    outs = backbone(images(2 * spec.size))[: spec.stages]
    assert [out.shape[-1] for out in outs] == sides
    pools = [m for m in backbone.modules() if isinstance(m, SelfAttentivePool2d)]
    expected = [s for s in strides if s > 1] if pool_cfg else []
    assert [pool.stride for pool in pools] == expected


@BOTH
@pytest.mark.parametrize("size", [1, 7, 33])
def test_any_image_size(spec, size):
    backbone = build(spec, pool_cfg=NLP)
    backbone.eval()
    assert all(o.isfinite().all() and min(o.shape) > 0 for o in backbone(images(size)))


@PLACES
def test_a_pool_for_each_stage(spec, position):
    pool_cfg = [dict(type="LocalImportancePool2d")] * spec.stages
    pool_cfg[1] = dict(NLP, num_heads=4)
    pool_cfg[2] = None
    backbone = build(spec, pool_cfg=pool_cfg, pool_position=position)
    kinds = [type(getattr(stage, "pool", None)) for stage in stages(backbone, spec)]
    none, lip = type(None), LocalImportancePool2d
    expected = [none, SelfAttentivePool2d, none, lip, none, lip, none]
    assert kinds == expected[: spec.stages]
    assert backbone.layer2.pool.attention.num_heads == 4
    assert [o.shape for o in backbone(images(spec.size))] == plain_shapes(spec)


@BOTH
def test_prepool_stem(spec):
    backbone = build(spec, stem_stride=1, stem_pool_cfg=dict(NLP, stride=4))
    pool = backbone.get_submodule(spec.stem_pool)
    assert isinstance(pool, SelfAttentivePool2d)
    seen = []
    pool.register_forward_hook(lambda _, x, y: seen.append((x[0].shape, y.shape)))
    out = backbone(images(spec.size))[0]
    (before, after) = seen[0]
    assert before[-1] == spec.size
    assert after[-1] == out.shape[-1] == spec.size // 4


@BOTH
def test_frozen_stages_freeze_their_pools(spec):
    backbone = build(spec, pool_cfg=NLP, stem_pool_cfg=NLP, frozen_stages=2)
    backbone.train()
    trainable = {n.split(".")[0] for n, p in backbone.named_parameters()
                 if p.requires_grad}  # fmt: skip
    last = {"conv2"} if spec is Mobilenet else set()
    assert trainable == {f"layer{i}" for i in range(3, spec.stages + 1)} | last
    assert not backbone.layer2.pool.training and backbone.layer3.pool.training


@BOTH
def test_norm_eval_covers_the_pools(spec):
    backbone = build(spec, pool_cfg=NLP, norm_eval=True)
    backbone.train()
    norms = [m for m in backbone.modules() if isinstance(m, _BatchNorm)]
    assert not any(norm.training for norm in norms)
    assert backbone.layer2.pool.restore.norm in norms
    assert backbone.layer2.pool.training


@PLACES
def test_with_cp_gives_the_same(spec, position):
    kwargs = dict(pool_cfg=NLP, pool_position=position)
    plain, checkpointed = build(spec, **kwargs), build(spec, with_cp=True, **kwargs)
    checkpointed.load_state_dict(plain.state_dict())
    x = images(spec.size).double()  # in which only rounding differs
    gradients = []
    for backbone in (plain, checkpointed):
        backbone.double()(x.requires_grad_())[-1].square().sum().backward()
        gradients.append([p.grad for p in backbone.parameters()])
    for actual, expected in zip(*reversed(gradients), strict=True):
        torch.testing.assert_close(actual, expected)


@BOTH
def test_out_indices(spec):
    indices = (0, 2)
    backbone, everything = build(spec, out_indices=indices), build(spec)
    everything.load_state_dict(backbone.state_dict())
    x = images(spec.size)
    outs = everything(x)
    for out, index in zip(backbone(x), indices, strict=True):
        assert torch.equal(out, outs[index])


@BOTH
@pytest.mark.parametrize("scope", ["mmdet", "mmpretrain"])
@pytest.mark.parametrize("custom_imports", [True, False])
def test_builds_in_both_frameworks(spec, scope, custom_imports, tmp_path):
    model = dict(type=f"attnpool_mm.{spec.cls.__name__}", pool_cfg=NLP, **spec.kwargs)
    text = f"model = {model!r}\n"
    if custom_imports:
        text += "custom_imports = dict(imports=['attnpool_mm.models'])\n"
    (tmp_path / "config.py").write_text(text)
    cfg = Config.fromfile(tmp_path / "config.py")
    with DefaultScope.overwrite_default_scope(scope):
        backbone = MODELS.build(cfg.model)
    assert type(backbone) is spec.cls
    assert isinstance(backbone.layer2.pool, WeightedPool2d)


@BOTH
def test_initial_weights(spec):
    backbone = build(spec, pool_cfg=NLP)
    backbone.init_weights()
    pool = backbone.layer2.pool
    conv = pool.restore.conv
    fan_out = conv.out_channels
    assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.3)
    assert (conv.bias == 0).all()
    assert (pool.embed.norm.weight == 1).all() and (pool.embed.norm.bias == 0).all()
    # PyTorch's own initialisation of attention: Xavier for q, k and v together.
    width = pool.attention.embed_dim
    bound = (6 / (3 * width + width)) ** 0.5
    assert 0.8 * bound < pool.attention.in_proj_weight.abs().max() <= bound
    assert pool.position.row.min() >= 0 and pool.position.row.max() <= 1


@BOTH
@pytest.mark.parametrize("kwargs, message", [
    (dict(strides=(1, 2)), "strides=.1, 2.: a list of"),
    (dict(strides=0), "strides=0: a list of"),
    (dict(pool_cfg=[NLP]), "or a list of"),
    (dict(pool_cfg="nlp"), "pool_cfg='nlp': a dict"),
    (dict(pool_cfg=dict(NLP, stride=2)), "a dict without 'stride'"),
    (dict(pool_cfg=dict(type="NoPool")), "type='NoPool' is not registered"),
    (dict(pool_cfg=dict(NLP, num_heads=0)), "num_heads=0"),
    (dict(pool_position="end"), "pool_position='end': accepted are"),
    (dict(out_indices=(8,)), "out_indices=.8,.: a list of integers from 0"),
    (dict(out_indices=()), "out_indices=..: a list of integers from 0"),
    (dict(stem_stride=0), "stem_stride=0: an integer of at least 1"),
    (dict(stem_pool_cfg=dict(type="NoPool")), "type='NoPool' is not registered"),
], ids=str)  # fmt: skip
def test_bad_arguments(spec, kwargs, message):
    with pytest.raises(ConfigError, match=message) as error:
        build(spec, **kwargs)
    assert "\n" not in str(error.value)


@BOTH
def test_a_stride_of_zero(spec):
    with pytest.raises(
        ConfigError, match="each of strides=0: an integer of at least 1"
    ):
        build(spec, strides=(0, *spec.strides[1:]))


@PLACES
@pytest.mark.parametrize("indices", [(0, 2), (2, 1), None], ids=str)
def test_out_channels_are_those_of_the_outputs(spec, position, indices):
    indices = indices or spec.kwargs["out_indices"]
    backbone = build(spec, out_indices=indices, pool_cfg=NLP, pool_position=position)
    assert backbone.out_channels == tuple(
        out.shape[1] for out in backbone(images(spec.size))
    )


@PLACES
@pytest.mark.parametrize("kwargs", [
    dict(),
    dict(out_indices=(2, 0)),
    dict(pool_cfg=LIP, stem_stride=1),
    dict(stem_pool_cfg=LIP),
    dict(stem_pool_cfg=dict(LIP, stride=4), stem_stride=1),
    dict(stem_pool_cfg=dict(type="StridedConv2d", stride=1)),
], ids=str)  # fmt: skip
def test_out_strides_are_those_of_the_outputs(spec, position, kwargs):
    strides = (2, *spec.strides[1:])
    backbone = build(spec, strides=strides, pool_position=position, **kwargs)
    backbone.eval()
    outs = backbone(images(128, 1))
    assert backbone.out_strides == tuple(128 / out.shape[-1] for out in outs)


@pytest.mark.parametrize("kwargs", [
    dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)),
    dict(deep_stem=True, avg_down=True, pool_cfg=LIP),
    dict(deep_stem=True, stem_stride=4),
    dict(num_stages=2, strides=(3, 4), dilations=(1, 1), out_indices=(1,)),
], ids=str)  # fmt: skip
def test_out_strides_of_other_resnets(kwargs):
    backbone = build(Resnet, **kwargs)
    backbone.eval()
    outs = backbone(images(192, 1))
    assert backbone.out_strides == tuple(192 / out.shape[-1] for out in outs)
