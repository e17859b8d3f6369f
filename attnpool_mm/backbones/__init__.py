"""Backbones: MMPretrain's networks with any pool in any stage."""

from .arch import AttnPoolBackbone, arch_to_config
from .mobilenet_v2 import AttnPoolMobileNetV2
from .resnet import AttnPoolResNet
from .resnet_cifar import AttnPoolResNetCIFAR

__all__ = [
    "AttnPoolBackbone",
    "AttnPoolMobileNetV2",
    "AttnPoolResNet",
    "AttnPoolResNetCIFAR",
    "arch_to_config",
]
