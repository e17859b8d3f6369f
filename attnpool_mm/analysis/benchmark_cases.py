"""The layers that `benchmark_pooling.py` measures, and at which sizes."""

import re
import warnings

from torch import Tensor, nn

from ..layers import SPEM, DynamicConv2d
from ..pooling import WeightedPool2d, build_pool
from ..utils.errors import ConfigError
from .plain import plain_weight

STRIDE = 2
NLP = dict(type="SelfAttentivePool2d")
LIP = dict(type="LocalImportancePool2d")
DEFORMABLE = dict(type="DeformableSelfAttentivePool2d")
POOLS = {
    "nlp": NLP,
    "nlp_p4_nowin": dict(NLP, patch_size=4, normalize=False),
    "lip": LIP,
    "lip_original": dict(LIP, form="original"),
    "gaussian_pool": dict(type="GaussianPool2d"),
    "attnpool": dict(type="AttentionPool2d"),
    "dfmnlp_p2_nowin": dict(DEFORMABLE, patch_size=2, normalize=False),
    "mixp": dict(type="MixedPool2d", pools=[LIP, NLP]),
    "dfmixp_p2": dict(
        type="MixedPool2d",
        pools=[dict(DEFORMABLE, patch_size=2), dict(LIP, kernel_size=2)],
    ),
}
LAYERS = {
    "pooling": tuple(POOLS),
    "weighted": ("weighted",),
    "spem": ("spem",),
    "dynamic": ("dynamic_3x3", "dynamic_1x1", "dynamic_depthwise_3x3"),
}
SIZES = {
    "pooling": ("64x56x56:8", "128x28x28:8", "256x14x14:8"),
    "weighted": ("64x56x56:8", "128x28x28:8", "256x14x14:8"),
    "spem": ("64x32x32:128", "64x32x32:64", "256x56x56:8"),
    "dynamic": ("64x56x56:8", "256x14x14:8", "512x7x7:8"),
}
TARGETS = (  # layer, size, step, ratio to the plain formula, at least
    ("nlp", "64x56x56:8", "training", "time_ratio", 6),
    ("nlp", "64x56x56:8", "training", "peak_ratio", 20),
    ("nlp", "64x56x56:8", "inference", "time_ratio", 7),
    ("nlp", "128x28x28:8", "training", "time_ratio", 2.7),
    ("nlp_p4_nowin", "64x56x56:8", "training", "time_ratio", 2),
    ("spem", "64x32x32:128", "training", "time_ratio", 1.3),
    ("spem", "64x32x32:128", "inference", "time_ratio", 2),
)


class SigmoidWeightedPool2d(WeightedPool2d):
    """The part that the learned pools share, alone: w = exp(sigmoid(x)).

    Example:
        >>> import torch
        >>> SigmoidWeightedPool2d(3)(torch.rand(1, 3, 8, 8)).shape
        torch.Size([1, 3, 4, 4])
    """

    def compute_log_weight(self, x: Tensor) -> Tensor:
        """The logarithm of the weights of `x` (B, C, H, W)."""
        return x.sigmoid()


@plain_weight.register
def _(pool: SigmoidWeightedPool2d, x: Tensor) -> Tensor:
    return x.sigmoid().exp()


def parse_size(word: str) -> tuple[int, int, int, int]:
    """Batch, channels, height and width of 'CxHxW' or 'CxHxW:BATCH'.

    Raises:
        ConfigError: It is neither.

    Example:
        >>> parse_size('64x56x28:2')
        (2, 64, 56, 28)
    """
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)(?::(\d+))?", word)
    if not match or 0 in map(int, match.groups("8")):
        raise ConfigError(f"--sizes {word}: CxHxW or CxHxW:BATCH is accepted")
    channels, height, width, batch = map(int, match.groups("8"))
    return batch, channels, height, width


def build_case(name: str, channels: int) -> tuple[nn.Module, nn.Module]:
    """A layer, and the convolution that it is compared with.

    That of a pool or of SPEM is 3×3 with the same stride, that of a dynamic
    convolution has its kernel and groups. Attention has a head for every 16 channels.

    Args:
        name: One of `LAYERS`.
        channels: Of the input.

    Example:
        >>> pool, convolution = build_case('lip', 16)
        >>> type(pool).__name__, convolution.stride
        ('LocalImportancePool2d', (2, 2))
    """
    if name == "spem":
        return SPEM(channels), nn.Conv2d(channels, channels, 3, padding=1)
    if name.startswith("dynamic"):
        size = int(name[-1])
        cfg = dict(
            kernel_size=size,
            padding=size // 2,
            groups=channels if "depthwise" in name else 1,
        )
        dynamic = DynamicConv2d(channels, channels, **cfg)
        return dynamic, nn.Conv2d(channels, channels, **cfg)
    convolution = nn.Conv2d(channels, channels, 3, STRIDE, 1)
    if name == "weighted":
        return SigmoidWeightedPool2d(channels, STRIDE), convolution
    cfg = _with_heads(POOLS[name], max(1, channels // 16))
    with warnings.catch_warnings():
        # A part of a mixture may well be constant in a window.
        warnings.filterwarnings("ignore", "SelfAttentivePool2d with patch_size")
        warnings.filterwarnings("ignore", "DeformableSelfAttentivePool2d with patch")
        return build_pool(cfg, channels, STRIDE), convolution


def _with_heads(cfg: dict, heads: int) -> dict:
    if "pools" in cfg:
        return dict(cfg, pools=[_with_heads(part, heads) for part in cfg["pools"]])
    return dict(cfg, num_heads=heads) if "Attenti" in cfg["type"] else cfg
