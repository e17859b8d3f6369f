"""Models: any pool in any network, and the networks of the papers.

`pooled` needs PyTorch and MMEngine alone. The other modules import MMPretrain or
MMDetection, when one of their names is asked for.
"""

from importlib import import_module
from typing import Any

MODULES = {
    "AttnPoolClassifier": "classifier",
    "AttnPoolMobileNetV2": "mobilenet_v2",
    "AttnPoolMobileNetV3": "mobilenet_v3",
    "AttnPoolResNet": "resnet",
    "AttnPoolResNetCIFAR": "resnet_cifar",
    "LIPDenseNet": "lip",
    "LIPResNet": "lip",
    "Shrinking": "shrinking",
    "arch_to_config": "keywords",
    "attn_pool_backbone": "keywords",
    "attn_pool_detector": "detector",
    "check_detector": "detector",
    "find_shrinkings": "shrinking",
    "pool_downsampling": "pooled",
    "pooled_backbone": "pooled",
    "pruned_model": "pruned",
}
__all__ = list(MODULES)


def __getattr__(name: str) -> Any:
    """Import the module that defines `name`."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{MODULES[name]}", __name__), name)
