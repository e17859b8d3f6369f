"""The table of stages says what the network does."""

import pytest
import torch

from attnpool_mm.analysis import describe_stages
from attnpool_mm.models import AttnPoolBackbone
from attnpool_mm.utils.errors import ConfigError

ARCHS = [
    "resnet18-skip-1222",
    "resnet18_v2-nlp_headfix2_nowin-4222",
    "resnet18-dfmixp_headfix2_nowin-1222",
    "prepool-attnpool-4-resnet18-lip-1222",
    "mobilenet-gaussian_pool-2222121",
    "prepool-nlp-4-mobilenet_v2-nlp-1222121",
    "dymobilenet-skip-1222121",
    "spem-20",
]


@pytest.mark.parametrize("arch", ARCHS)
def test_sizes_are_those_of_a_forward_pass(arch):
    outputs = 8 if "mobilenet" in arch else 3 if "spem" in arch else 4
    backbone = AttnPoolBackbone(arch, out_indices=range(outputs))
    backbone.eval()
    expected = [tuple(out.shape[1:]) for out in backbone(torch.rand(1, 3, 70, 101))]
    stem, *stages = describe_stages(backbone, (70, 101))
    assert [(s.channels, s.height, s.width) for s in stages] == expected
    assert [s.name for s in stages[:2]] == ["layer1", "layer2"]
    assert stem.name == "stem"
    assert stem.height // stages[0].stride in {stages[0].height, stages[0].height - 1}


def test_pools():
    backbone = AttnPoolBackbone("prepool-nlp-4-resnet18-mixp_nowin-1212")
    stem, *stages = describe_stages(backbone, (64, 64))
    assert (stem.stride, stem.patch_size, stem.num_heads, stem.normalize) == (
        4, 2, 8, True
    )  # fmt: skip
    assert [s.stride for s in stages] == [1, 2, 1, 2]
    assert [s.pool for s in stages] == ["", "MixedPool2d"] * 2
    assert [s.num_heads for s in stages] == [None, 8, None, 32]
    assert [s.normalize for s in stages] == [None, False] * 2


def test_strided_convolutions_are_named():
    stages = describe_stages(AttnPoolBackbone("mobilenet-skip-1222121"), (64, 64))
    assert [s.pool for s in stages] == [
        "strided convolution" if s.stride > 1 else "" for s in stages
    ]
    assert [s.stride for s in stages] == [2, 1, 2, 2, 2, 1, 2, 1, 1]


def test_large_images_take_no_memory():
    backbone = AttnPoolBackbone("resnet50-nlp_headfix2_nowin-1222")
    stages = describe_stages(backbone, (8000, 13330))
    assert (stages[-1].height, stages[-1].width) == (250, 416)


def test_a_bad_size():
    backbone = AttnPoolBackbone("spem-20")
    with pytest.raises(ConfigError, match="each of size=0"):
        describe_stages(backbone, (0, 3))
    with pytest.raises(ConfigError, match="size=64: a height and a width"):
        describe_stages(backbone, 64)


def test_the_backbone_is_left_as_it_is():
    backbone = AttnPoolBackbone("resnet18-nlp-1222")
    x = torch.rand(1, 3, 64, 64)
    backbone.eval()
    before = backbone(x)[0]
    backbone.train()
    describe_stages(backbone, (32, 32))
    assert backbone.training
    backbone.eval()
    assert torch.equal(backbone(x)[0], before)


def test_the_stem_of_a_tiny_image():
    stem = describe_stages(AttnPoolBackbone("resnet18-skip-1222"), (5, 5))[0]
    assert stem.stride == 4 and stem.height == 1
