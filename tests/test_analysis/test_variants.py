"""Variants of configs, against the same networks written by hand."""

from pathlib import Path

import pytest
from mmengine.config import Config

from attnpool_mm.analysis.variants import STRIDED, Choices, Variant, choices_of, vary
from attnpool_mm.deploy.pruned_config import pruned_config
from attnpool_mm.engine.launch import read_config
from attnpool_mm.models.keywords import arch_to_config
from attnpool_mm.utils.config import build_for_counting
from attnpool_mm.utils.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
CLASSIFICATION = CONFIGS / "classification"
DIGITS = CLASSIFICATION / "digits" / "resnet18-nlp-stage-end_1xb64_digits.py"
WAKE_WORDS = CLASSIFICATION / (
    "visual_wake_words/mobilenet-v2-nlp-block-end_1xb64_vww.py"
)
NLP = "SelfAttentivePool2d"


def classifier(size=32, **backbone):
    pipeline = [dict(type="Resize", scale=size), dict(type="PackInputs")]
    return Config(
        dict(
            default_scope="mmpretrain",
            model=dict(
                type="ImageClassifier",
                backbone=backbone,
                neck=dict(type="GlobalAveragePooling"),
                head=dict(type="LinearClsHead", num_classes=10, in_channels=512),
            ),
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
        )
    )


def shapes(cfg):
    """The shapes of a model's weights."""
    state = build_for_counting(cfg).state_dict()
    return {name: tuple(value.shape) for name, value in state.items()}


def test_a_resnet_as_if_written_by_hand():
    cfg = read_config(str(DIGITS))
    before = cfg.pretty_text
    varied = vary(cfg, Variant((4, 2, 2, 2), 0.25, 24, "LocalImportancePool2d"))
    expected = classifier(
        type="attnpool_mm.AttnPoolResNet",
        depth=18,
        strides=(4, 2, 2, 2),
        base_channels=16,
        stem_channels=16,
        pool_cfg=dict(type="LocalImportancePool2d"),
    )
    expected.model.head.in_channels = 128
    assert shapes(varied) == shapes(expected)
    assert varied.test_dataloader.dataset.pipeline[0].scale == 24
    assert cfg.pretty_text == before


def test_a_keyword_as_the_keyword_of_the_variant():
    varied = vary(read_config(str(WAKE_WORDS)), Variant((2, 2, 2, 2, 1, 2, 1)))
    backbone = arch_to_config("mobilenet_v2-nlp_headfix2_nowin-2222121")
    assert varied.model.backbone.strides == backbone["strides"]
    stages = [i for i, stride in enumerate(backbone["strides"]) if stride > 1]
    for i in stages:  # the first had none
        assert varied.model.backbone.pool_cfg[i] == backbone["pool_cfg"][i]
    strided = vary(varied, Variant(width=0.35, pool=STRIDED))
    expected = arch_to_config("mobilenet_v2-skip-2222121")
    expected = classifier(96, **expected, widen_factor=0.35)
    expected.model.head.update(in_channels=1280, num_classes=2)
    assert shapes(strided) == shapes(expected)


def test_a_pooled_backbone():
    inner = dict(type="mmpretrain.ResNet", depth=18)
    cfg = classifier(
        type="attnpool_mm.PooledBackbone",
        backbone=inner,
        pool_cfg=dict(type=NLP, num_heads=1, normalize=False),
    )
    choices = choices_of(cfg)
    assert choices.pools == [NLP, STRIDED] and (4, 2, 2, 2) in choices.strides
    cfg.model.head.pop("in_channels")  # which would have the backbone built
    varied = vary(cfg, Variant((2, 2, 2, 2), 0.5, 64, NLP)).model.backbone
    assert varied.image_size == (64, 64) and varied.pool_cfg.num_heads == 1
    assert varied.backbone.strides == (2, 2, 2, 2)
    assert varied.backbone.base_channels == varied.backbone.stem_channels == 32


def test_a_pool_for_each_stage_of_a_pooled_backbone():
    path = "imagenet/regnetx-400mf-nlp-block-end_8xb128_in1k.py"
    cfg = read_config(str(CONFIGS / "classification" / path))
    patches = [pool.patch_size for pool in cfg.model.backbone.pool_cfg]
    cfg = vary(cfg, Variant(strides=(1, 2, 2, 2)))
    pools = cfg.model.backbone.pool_cfg
    assert [pool.patch_size for pool in pools] == patches[1:]
    shapes(cfg)  # it can be built
    pools = vary(cfg, Variant(strides=(4, 2, 2, 2))).model.backbone.pool_cfg
    assert [pool.patch_size for pool in pools] == [patches[1], *patches[1:]]


def test_what_is_varied_at_first():
    choices = choices_of(read_config(str(DIGITS)))
    assert choices == Choices(
        [(1, 2, 2, 2), (2, 2, 2, 2), (4, 2, 2, 2)],
        [1, 0.75, 0.5],
        [32, 24, 16],
        [NLP, STRIDED],
    )
    variants = list(choices.variants())
    assert len({variant.name for variant in variants}) == 3**3 * 2
    detector = CONFIGS / "detection/ssd/ssdlite_mobilenetv2-spem_8xb24-600e_coco.py"
    assert choices_of(read_config(str(detector))) == Choices(pools=[STRIDED, NLP])


@pytest.mark.parametrize("variant, said", [
    (Variant(strides=(1, 2)), "strides: VGG"),
    (Variant(width=0.5), "widths: VGG.*sizes"),
    (Variant(pool=NLP), "pools: VGG"),
])  # fmt: skip
def test_what_a_backbone_does_not_take(variant, said):
    cfg = classifier(type="VGG", depth=11)
    with pytest.raises(ConfigError, match=said):
        vary(cfg, variant)


def test_a_backbone_that_is_not_known():
    with pytest.raises(ConfigError, match="ResNet19"):
        choices_of(classifier(type="ResNet19"))
    with pytest.raises(ConfigError, match="model.backbone"):
        choices_of(Config(dict(default_scope="mmpretrain")))
    cfg = classifier(type="VGG", depth=11)
    with pytest.raises(ConfigError, match="PrunedModel"):
        choices_of(pruned_config(cfg, {}, (32, 32), "pruned.pth"))
