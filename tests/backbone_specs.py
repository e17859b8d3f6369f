"""How to build each backbone and the plain network that it extends."""

from functools import cache

import pytest
import torch
from mmpretrain.models import MobileNetV2, MobileNetV3, ResNet
from plain_networks import PlainResNetCIFAR

from attnpool_mm.models import (
    AttnPoolMobileNetV2,
    AttnPoolMobileNetV3,
    AttnPoolResNet,
    AttnPoolResNetCIFAR,
)


class Resnet:
    """MMPretrain's ResNet and ours."""

    id = "resnet"
    cls = AttnPoolResNet
    kwargs = dict(depth=18, stem_channels=16, base_channels=16, out_indices=range(4))
    positions = ("stage_end", "first_block")
    strides = (1, 2, 2, 2)
    stem_pool = "maxpool"
    stem_stride = 4
    after_stages = set()
    size = 64

    @classmethod
    def parent(cls):
        return ResNet(**cls.kwargs)


class Mobilenet:
    """MMPretrain's MobileNetV2 and ours; the last convolution is an output too."""

    id = "mobilenet_v2"
    cls = AttnPoolMobileNetV2
    kwargs = dict(widen_factor=0.5, out_indices=range(8))
    positions = ("stage_start", "first_block")
    strides = (1, 2, 2, 2, 1, 2, 1)
    stem_pool = "conv1.pool"
    stem_stride = 2
    after_stages = {"conv2"}
    size = 64

    @classmethod
    def parent(cls):
        return MobileNetV2(**cls.kwargs)


class MobilenetV3:
    """MMPretrain's MobileNetV3 and ours; its output 0 is the stem's."""

    id = "mobilenet_v3"
    cls = AttnPoolMobileNetV3
    kwargs = dict(arch="small_050", out_indices=range(1, 13))
    positions = ()  # it has one
    strides = (2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1)
    stem_stride = 2
    after_stages = {"layer12"}
    size = 64

    @classmethod
    def parent(cls):
        return MobileNetV3(**cls.kwargs)


class CifarBottleneck:
    """The CIFAR ResNet in plain PyTorch and ours."""

    id = "cifar-bottleneck"
    cls = AttnPoolResNetCIFAR
    kwargs = dict(depth=20, block="bottleneck", out_indices=range(3))
    positions = ("stage_end", "first_block")
    strides = (1, 2, 2)
    stem_pool = "maxpool"
    stem_stride = 1
    after_stages = set()
    size = 32

    @classmethod
    def parent(cls):
        return PlainResNetCIFAR(cls.kwargs["depth"], cls.kwargs["block"])


class CifarBasic(CifarBottleneck):
    """The same with basic blocks."""

    id = "cifar-basic"
    kwargs = dict(depth=14, block="basic", out_indices=range(3))


WITH_STEM_POOL = (Resnet, Mobilenet, CifarBottleneck)
SPECS = (*WITH_STEM_POOL, MobilenetV3)


def each(specs):
    """Run a test for each spec."""
    return pytest.mark.parametrize("spec", specs, ids=lambda spec: spec.id)


def build(spec, **kwargs):
    return spec.cls(**{**spec.kwargs, **kwargs})


def images(size, count=2):
    return torch.rand(count, 3, size, size)


def stages(backbone, spec):
    return [getattr(backbone, f"layer{i + 1}") for i in range(len(spec.strides))]


@cache
def plain_shapes(spec):
    """The shapes of the plain network's outputs for the spec's images."""
    return [out.shape for out in spec.parent()(images(spec.size))]


def loss_and_gradients(backbone, x):
    """The sum of the squared last output, and every parameter's gradient."""
    loss = backbone(x)[-1].square().sum()
    loss.backward()
    return loss, *(parameter.grad for parameter in backbone.parameters())
