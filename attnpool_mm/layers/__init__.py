"""Layers of the networks that are no pools."""

from .build import build_conv, resolve_conv_cfg
from .dynamic_conv import DynamicConv2d
from .spem import SPEM, spem_layers, spem_penalty

__all__ = [
    "SPEM",
    "DynamicConv2d",
    "build_conv",
    "resolve_conv_cfg",
    "spem_layers",
    "spem_penalty",
]
