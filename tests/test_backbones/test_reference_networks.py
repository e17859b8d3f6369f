"""The backbones compute what the authors' networks compute."""

import pytest
from reference import Case, backbone_state

from attnpool_mm.backbones import AttnPoolMobileNetV2, AttnPoolResNet

MAX_2X2 = dict(type="MaxPool2d", kernel_size=2)
NLP = dict(type="SelfAttentivePool2d", num_heads=2)
NOWIN = dict(NLP, normalize=False)


def resnet18(**kwargs):
    return AttnPoolResNet(
        18, out_indices=(0, 1, 2, 3), **{"stem_pool_cfg": MAX_2X2, **kwargs}
    )


def mobilenet(**kwargs):
    return AttnPoolMobileNetV2(out_indices=range(8), **kwargs)


NETWORKS = {
    "resnet18-skip-1222": lambda: resnet18(),
    "resnet18-nlp_headfix2_nowin-1222": lambda: resnet18(pool_cfg=NOWIN),
    "resnet18_v2-lip-2222": lambda: resnet18(
        strides=(2, 2, 2, 2),
        pool_cfg=dict(type="LocalImportancePool2d"),
        pool_position="first_block",
    ),
    "prepool-nlp_headfix2-4-resnet18-nlp_headfix2-1222": lambda: resnet18(
        pool_cfg=NLP,
        stem_pool_cfg=dict(NLP, patch_size=2, stride=4, num_heads=2),
        stem_stride=1,
    ),
    "mobilenet-nlp_headfix2-1222121": lambda: mobilenet(pool_cfg=NLP),
    "mobilenet_v2-nlp_headfix2_nowin_reduced-1222121": lambda: mobilenet(
        pool_cfg=[dict(NOWIN, patch_size=p) for p in (4, 4, 4, 2, 2, 1, 1)],
        pool_position="first_block",
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_agrees_with_the_authors(name):
    case = Case(name)
    backbone = NETWORKS[name]()
    backbone.load_state_dict(backbone_state(case.state))

    for mode, tolerance in (("eval", 1e-4), ("train", 1e-2)):
        backbone.train(mode == "train")
        outs = backbone(case.input)
        for i, out in enumerate(outs):
            expected = case[f"{mode}{i}"]
            assert out.shape == expected.shape
            error = (out - expected).abs().max() / expected.abs().max()
            assert error < tolerance, f"{mode} output {i}"
    assert len(outs) == sum(key.startswith("train") for key in case.arrays)
