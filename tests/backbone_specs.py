"""How to build each backbone and the plain network that it extends."""

import torch
from mmpretrain.models import MobileNetV2, ResNet
from plain_networks import PlainResNetCIFAR

from attnpool_mm.models import (
    AttnPoolMobileNetV2,
    AttnPoolResNet,
    AttnPoolResNetCIFAR,
)


class Resnet:
    """MMPretrain's ResNet and ours."""

    id = "resnet"
    cls = AttnPoolResNet
    kwargs = dict(depth=18, out_indices=(0, 1, 2, 3))
    positions = ("stage_end", "first_block")
    strides = (1, 2, 2, 2)
    stages = 4
    stem_pool = "maxpool"
    stem_stride = 4
    size = 64

    @staticmethod
    def parent(**kwargs):
        return ResNet(**{**Resnet.kwargs, **kwargs})


class Mobilenet:
    """MMPretrain's MobileNetV2 and ours."""

    id = "mobilenet_v2"
    cls = AttnPoolMobileNetV2
    kwargs = dict(widen_factor=0.5, out_indices=tuple(range(8)))
    positions = ("stage_start", "first_block")
    strides = (1, 2, 2, 2, 1, 2, 1)
    stages = 7
    stem_pool = "conv1.pool"
    stem_stride = 2
    size = 64

    @staticmethod
    def parent(**kwargs):
        return MobileNetV2(**{**Mobilenet.kwargs, **kwargs})


class CifarBottleneck:
    """The CIFAR ResNet in plain PyTorch and ours."""

    id = "cifar-bottleneck"
    cls = AttnPoolResNetCIFAR
    kwargs = dict(depth=20, block="bottleneck", out_indices=(0, 1, 2))
    positions = ("stage_end", "first_block")
    strides = (1, 2, 2)
    stages = 3
    stem_pool = "maxpool"
    stem_stride = 1
    size = 32

    @classmethod
    def parent(cls):
        return PlainResNetCIFAR(cls.kwargs["depth"], cls.kwargs["block"])


class CifarBasic(CifarBottleneck):
    """The same with basic blocks."""

    id = "cifar-basic"
    kwargs = dict(depth=20, block="basic", out_indices=(0, 1, 2))


SPECS = [Resnet, Mobilenet, CifarBottleneck, CifarBasic]


def build(spec, **kwargs):
    return spec.cls(**{**spec.kwargs, **kwargs})


def images(size, count=2):
    return torch.rand(count, 3, size, size)


def stages(backbone, spec):
    return [getattr(backbone, f"layer{i + 1}") for i in range(spec.stages)]


def plain_shapes(spec):
    """The shapes of the plain network's outputs for the spec's images."""
    return [out.shape for out in spec.parent()(images(spec.size))]
