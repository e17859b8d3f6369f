"""The layers that `benchmark_pooling.py` measures, and at which sizes."""

import re
import warnings

from torch import nn

from attnpool_mm.layers import SPEM, DynamicConv2d
from attnpool_mm.pooling import build_pool
from attnpool_mm.utils.errors import ConfigError

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
    "spem": ("spem",),
    "dynamic": ("dynamic_3x3", "dynamic_1x1", "dynamic_depthwise_3x3"),
}
SIZES = {
    "pooling": ("64x56x56:8", "256x14x14:8"),
    "spem": ("64x32x32:64", "256x56x56:8"),
    "dynamic": ("64x56x56:8", "256x14x14:8", "512x7x7:8"),
}


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


def named_layers(option: str, words: list[str]) -> set[str]:
    """The layers that `words` name, by their own names or their groups'.

    Raises:
        ConfigError: There is no such layer or group.

    Example:
        >>> sorted(named_layers('--layers', ['spem', 'lip']))
        ['lip', 'spem']
    """
    groups = LAYERS | {name: (name,) for names in LAYERS.values() for name in names}
    for word in words:
        if word not in groups:
            raise ConfigError(
                f"{option} {word}: accepted are the groups {', '.join(LAYERS)} and the "
                f"layers {', '.join(name for name in groups if name not in LAYERS)}"
            )
    return {name for word in words for name in groups[word]}


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
