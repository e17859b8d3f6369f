"""Backbones: MMPretrain's networks with any pool in any stage."""

from .mobilenet_v2 import AttnPoolMobileNetV2
from .resnet import AttnPoolResNet

__all__ = ["AttnPoolMobileNetV2", "AttnPoolResNet"]
