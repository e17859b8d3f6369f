"""Pooling layers: (B, C, H, W) → (B, C, H/stride, W/stride)."""

from .build import build_pool, pool_names
from .local_importance import LocalImportancePool2d
from .plain import AvgPool2d, MaxPool2d, StridedConv2d
from .position import LearnedPosition2d
from .self_attention import SelfAttention
from .self_attentive import SelfAttentivePool2d
from .weighted import WeightedPool2d, weighted_pool2d

__all__ = [
    "AvgPool2d",
    "LearnedPosition2d",
    "LocalImportancePool2d",
    "MaxPool2d",
    "SelfAttention",
    "SelfAttentivePool2d",
    "StridedConv2d",
    "WeightedPool2d",
    "build_pool",
    "pool_names",
    "weighted_pool2d",
]
