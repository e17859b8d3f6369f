"""What holds for all backbones alike."""

import pytest
import torch
from backbone_specs import (
    SPECS,
    WITH_STEM_POOL,
    CifarBasic,
    Mobilenet,
    MobilenetV3,
    Resnet,
    build,
    each,
    images,
    loss_and_gradients,
    plain_shapes,
    stages,
)
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import save_checkpoint
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from attnpool_mm.pooling import LocalImportancePool2d, SelfAttentivePool2d, pool_names
from attnpool_mm.utils.errors import ConfigError

NLP = dict(type="SelfAttentivePool2d", normalize=False)
LIP = dict(type="LocalImportancePool2d")


@each((*SPECS, CifarBasic))
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


@each(SPECS)
def test_the_parents_weights_load_with_only_pool_keys_missing(spec, tmp_path):
    parent = spec.parent()
    path = str(tmp_path / "parent.pth")
    state = {f"backbone.{k}": v for k, v in parent.state_dict().items()}
    save_checkpoint(dict(state_dict=state), path)
    pretrained = dict(type="Pretrained", checkpoint=path, prefix="backbone.")
    ours = build(spec, pool_cfg=NLP, init_cfg=pretrained)
    missing, unexpected = ours.load_state_dict(parent.state_dict(), strict=False)
    assert unexpected == []
    assert missing and all(".pool." in key for key in missing)

    for parameter in ours.parameters():
        nn.init.zeros_(parameter)
    ours.init_weights()
    loaded = ours.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in parent.state_dict().items())


def check_learns(spec, pool_cfg, **kwargs):
    """Outputs of the plain shapes, with what they say of themselves; gradients."""
    backbone = build(spec, pool_cfg=pool_cfg, **kwargs)
    outs = backbone(images(spec.size))
    assert [out.shape for out in outs] == plain_shapes(spec)
    assert backbone.out_channels == tuple(out.shape[1] for out in outs)
    assert backbone.out_strides == tuple(spec.size // out.shape[3] for out in outs)
    sum(out.sum() for out in outs).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    "spec, kwargs",
    [(spec, dict(pool_position=p)) for spec in SPECS for p in spec.positions]
    + [(spec, {}) for spec in SPECS if not spec.positions],
    ids=lambda v: v.get("pool_position", "") if isinstance(v, dict) else v.id,
)
def test_a_pool_in_every_place(spec, kwargs):
    check_learns(spec, NLP, **kwargs)


@pytest.mark.parametrize("pool", pool_names())
def test_every_pool(pool):
    check_learns(CifarBasic, dict(type=pool))


@each(SPECS)
@pytest.mark.parametrize("pool_cfg", [None, NLP], ids=["strided", "pooled"])
def test_strides(spec, pool_cfg):
    strides = (4, *spec.strides[1:])
    backbone = build(spec, strides=strides, pool_cfg=pool_cfg)
    side = 2 * spec.size // spec.stem_stride
    sides = []
    for step in strides:
        side = -(-side // step)
        sides.append(side)
    outs = backbone(images(2 * spec.size))[: len(strides)]
    assert [out.shape[-1] for out in outs] == sides
    pools = [m for m in backbone.modules() if isinstance(m, SelfAttentivePool2d)]
    expected = [s for s in strides if s > 1] if pool_cfg else []
    assert [pool.stride for pool in pools] == expected


@each(SPECS)
def test_any_image_size(spec):
    backbone = build(spec, pool_cfg=NLP)
    backbone.eval()
    for size in (1, 7, 33):
        outs = backbone(images(size))
        assert all(out.isfinite().all() and min(out.shape) > 0 for out in outs)


@each(SPECS)
def test_a_pool_for_each_stage(spec):
    shrinking = [i for i, stride in enumerate(spec.strides) if stride > 1]
    entries = [LIP] * len(spec.strides)
    entries[shrinking[0]] = dict(NLP, num_heads=4)
    entries[shrinking[1]] = None
    backbone = build(spec, pool_cfg=entries)
    kinds = [type(getattr(stage, "pool", None)) for stage in stages(backbone, spec)]
    expected = [type(None)] * len(spec.strides)
    expected[shrinking[0]] = SelfAttentivePool2d
    for i in shrinking[2:]:
        expected[i] = LocalImportancePool2d
    assert kinds == expected
    first = getattr(backbone, f"layer{shrinking[0] + 1}")
    assert first.pool.attention.num_heads == 4
    assert [o.shape for o in backbone(images(spec.size))] == plain_shapes(spec)


@each(WITH_STEM_POOL)
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
    assert backbone.out_strides[0] == 4


@each(SPECS)
def test_frozen_stages_freeze_their_pools(spec):
    stem = dict(stem_pool_cfg=NLP) if spec in WITH_STEM_POOL else {}
    backbone = build(spec, pool_cfg=NLP, frozen_stages=2, **stem)
    backbone.train()
    trainable = {n.split(".")[0] for n, p in backbone.named_parameters()
                 if p.requires_grad}  # fmt: skip
    after = {f"layer{i}" for i in range(3, len(spec.strides) + 1)}
    assert trainable == after | spec.after_stages
    training = [s.pool.training for s in stages(backbone, spec) if hasattr(s, "pool")]
    frozen = sum(stride > 1 for stride in spec.strides[:2])
    assert training == [False] * frozen + [True] * (len(training) - frozen)
    assert len(training) > frozen


@each(SPECS)
def test_norm_eval_covers_the_pools(spec):
    backbone = build(spec, pool_cfg=NLP, norm_eval=True)
    backbone.train()
    norms = [m for m in backbone.modules() if isinstance(m, _BatchNorm)]
    assert not any(norm.training for norm in norms)
    assert backbone.layer2.pool.restore.norm in norms
    assert backbone.layer2.pool.training


@each((Resnet, Mobilenet, MobilenetV3))  # one for each way to build blocks
def test_with_cp_gives_the_same(spec):
    plain, checkpointed = (build(spec, pool_cfg=NLP, with_cp=cp).double()
                           for cp in (False, True))  # fmt: skip
    checkpointed.load_state_dict(plain.state_dict())
    # In float64, in which only rounding differs
    x = images(spec.size).double().requires_grad_()
    expected = loss_and_gradients(plain, x)
    for actual, value in zip(
        loss_and_gradients(checkpointed, x), expected, strict=True
    ):
        torch.testing.assert_close(actual, value)


@each(SPECS)
def test_out_indices(spec):
    everything, backbone = build(spec), build(spec, out_indices=[2, 1])
    backbone.load_state_dict(everything.state_dict())
    x = images(spec.size)
    # In the order of the network, whatever order they are given in
    outs, expected = backbone(x), everything(x)
    first = everything.out_indices[0]
    for out, index in zip(outs, (1, 2), strict=True):
        assert torch.equal(out, expected[index - first])
    assert backbone.out_channels == tuple(out.shape[1] for out in outs)


@pytest.mark.parametrize("spec, scope, custom_imports", [
    *((spec, "mmdet", []) for spec in SPECS),
    (Resnet, "mmpretrain", ["attnpool_mm.models"]),
], ids=lambda v: getattr(v, "id", str(v)))  # fmt: skip
def test_builds_in_both_frameworks(spec, scope, custom_imports, tmp_path):
    kwargs = {**spec.kwargs, "out_indices": list(spec.kwargs["out_indices"])}
    model = dict(type=f"attnpool_mm.{spec.cls.__name__}", pool_cfg=NLP, **kwargs)
    imports = dict(imports=custom_imports)
    path = tmp_path / "config.py"
    path.write_text(f"model = {model!r}\ncustom_imports = {imports!r}\n")
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(scope):
        backbone = MODELS.build(cfg.model)
    assert type(backbone) is spec.cls
    assert isinstance(backbone.layer2.pool, SelfAttentivePool2d)


@each(SPECS)
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


def check_error(spec, kwargs, message):
    with pytest.raises(ConfigError, match=message) as error:
        build(spec, **kwargs)
    assert "\n" not in str(error.value)


@each(SPECS)
@pytest.mark.parametrize("kwargs, message", [
    (dict(strides=(1, 2)), r"strides=\(1, 2\)"),
    (dict(pool_cfg=[NLP]), r"pool_cfg=\[{'type': 'Self"),
    (dict(out_indices=(13,)), r"out_indices=\(13,\)"),
], ids=str)  # fmt: skip
def test_bad_arguments_of_each(spec, kwargs, message):
    check_error(spec, kwargs, message)


@pytest.mark.parametrize("kwargs, message", [
    (dict(strides=0), "strides=0"),
    (dict(strides=(0, 2, 2, 2)), "strides=0"),
    (dict(pool_cfg="nlp"), "pool_cfg='nlp'"),
    (dict(pool_cfg=dict(NLP, stride=2)), "pool_cfg .*'stride': 2"),
    (dict(pool_cfg=dict(type="NoPool")), "type='NoPool'"),
    (dict(pool_cfg=dict(NLP, num_heads=0)), "num_heads=0"),
    (dict(out_indices=()), r"out_indices=\(\)"),
    (dict(out_indices=(-1,)), r"out_indices=\(-1,\)"),
    (dict(frozen_stages=5), "frozen_stages=5"),
    (dict(frozen_stages="2"), "frozen_stages='2'"),
    (dict(frozen_stages=True), "frozen_stages=True"),
], ids=str)  # fmt: skip
def test_bad_arguments(kwargs, message):
    check_error(Resnet, kwargs, message)


@each(WITH_STEM_POOL)
@pytest.mark.parametrize("kwargs, message", [
    (dict(pool_position="end"), "pool_position='end'"),
    (dict(stem_stride=0), "stem_stride=0"),
    (dict(stem_pool_cfg=dict(type="NoPool")), "type='NoPool'"),
], ids=str)  # fmt: skip
def test_bad_arguments_of_stem_and_position(spec, kwargs, message):
    check_error(spec, kwargs, message)


@pytest.mark.parametrize("spec, kwargs", [
    (spec, dict(stem_pool_cfg=dict(LIP, stride=3), out_indices=(1, 2)))
    for spec in WITH_STEM_POOL
] + [
    (Resnet, dict(stem_pool_cfg=dict(type="StridedConv2d", stride=1))),
    (Resnet, dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))),
    (Resnet, dict(deep_stem=True, avg_down=True, pool_cfg=LIP)),
    (Resnet, dict(deep_stem=True, stem_stride=4)),
    (Resnet, dict(num_stages=2, strides=(3, 4), out_indices=(1,))),
], ids=lambda v: getattr(v, "id", str(v)))  # fmt: skip
def test_out_strides_are_those_of_the_outputs(spec, kwargs):
    backbone = build(spec, **kwargs)
    backbone.eval()
    outs = backbone(images(192, 1))
    assert backbone.out_strides == tuple(192 / out.shape[-1] for out in outs)
