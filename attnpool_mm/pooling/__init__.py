"""Pooling layers: (B, C, H, W) → (B, C, H/stride, W/stride)."""

from .adaptive_exponential import AdaptiveExponentialPool2d
from .attention import AttentionPool2d
from .blur import BlurPool2d
from .build import build_pool, pool_names
from .deformable import DeformableSelfAttentivePool2d
from .gaussian import GaussianPool2d
from .local_importance import LocalImportancePool2d
from .mixed import MixedPool2d
from .plain import AvgPool2d, MaxPool2d, StridedConv2d
from .position import LearnedPosition2d
from .self_attention import SelfAttention
from .self_attentive import SelfAttentivePool2d
from .soft import SoftPool2d
from .weighted import WeightedPool2d, weighted_pool2d

__all__ = [
    "AdaptiveExponentialPool2d",
    "AttentionPool2d",
    "AvgPool2d",
    "BlurPool2d",
    "DeformableSelfAttentivePool2d",
    "GaussianPool2d",
    "LearnedPosition2d",
    "LocalImportancePool2d",
    "MaxPool2d",
    "MixedPool2d",
    "SelfAttention",
    "SelfAttentivePool2d",
    "SoftPool2d",
    "StridedConv2d",
    "WeightedPool2d",
    "build_pool",
    "pool_names",
    "weighted_pool2d",
]
