"""What a backbone does stage by stage: map sizes, channels, pools."""

from dataclasses import dataclass

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.utils import _pair

from ..pooling import (
    AttentionPool2d,
    SelfAttentivePool2d,
    StridedConv2d,
    WeightedPool2d,
)
from ..utils.checks import check_int
from ..utils.errors import ConfigError
from ..utils.shapes import shapes_only


@dataclass
class Stage:
    """A stage of a backbone.

    Attributes:
        name: Name of its module.
        stride: How many times smaller it makes the map.
        height: Height of its output in pixels.
        width: Width of its output in pixels.
        channels: Channels of its output.
        pool: Type of its pool, 'strided convolution', or '' with stride 1.
        patch_size: Of its self-attentive pool, in pixels.
        num_heads: Of its pool's attention.
        normalize: Whether its pool divides by the mean weight.
    """

    name: str
    stride: int
    height: int
    width: int
    channels: int
    pool: str = ""
    patch_size: int | None = None
    num_heads: int | None = None
    normalize: bool | None = None


def describe_stages(backbone: nn.Module, size: tuple[int, int]) -> list[Stage]:
    """Describe the stem and the stages of a backbone of this package.

    Args:
        backbone: The backbone. A copy of it runs once, without values, which takes
            neither memory nor time.
        size: Height and width of the image in pixels.

    Raises:
        ConfigError: `size` is not two positive integers.

    Example:
        >>> from attnpool_mm.models import AttnPoolBackbone
        >>> backbone = AttnPoolBackbone('resnet18-nlp_headfix2-1222')
        >>> for stage in describe_stages(backbone, (224, 224))[1:3]:
        ...     print(stage.name, stage.height, stage.channels, stage.num_heads)
        layer1 56 64 None
        layer2 28 128 2
    """
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        raise ConfigError(f"size={size!r}: a height and a width are accepted")
    height, width = (check_int("each of size", side) for side in size)
    stem = "maxpool" if hasattr(backbone, "maxpool") else "conv1"
    layers = [n for n, _ in backbone.named_children() if n.startswith("layer")]
    names = [stem, *layers, *(["conv2"] if hasattr(backbone, "conv2") else [])]
    sizes: dict[str, tuple[int, ...]] = {}

    def hook_of(name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            sizes[name] = tuple(output.shape[1:])

        return hook

    with torch.no_grad(), shapes_only(backbone) as copy:
        for name in names:
            copy.get_submodule(name).register_forward_hook(hook_of(name))
        stem_weight = next(copy.parameters())  # (…, channels of the image, k, k)
        copy(stem_weight.new_empty(1, stem_weight.shape[-3], height, width))
    strides = [_stem_stride(backbone, stem), *backbone.strides, 1]
    return [
        _stage("stem" if name == stem else name, stride, sizes[name], module)
        for name, stride, module in zip(
            names, strides, map(backbone.get_submodule, names), strict=False
        )
    ]


def _stem_stride(backbone: nn.Module, stem: str) -> int:
    conv = next(m for m in backbone.modules() if isinstance(m, _ConvNd))
    last = backbone.get_submodule(stem)
    pool = dict(last.named_children()).get("pool", None if stem == "conv1" else last)
    return _pair(conv.stride)[0] * _pair(getattr(pool, "stride", 1))[0]


def _stage(name: str, stride: int, shape: tuple[int, ...], module: nn.Module) -> Stage:
    channels, height, width = shape
    stage = Stage(name, stride, height, width, channels)
    pool = dict(module.named_children()).get("pool")
    if pool is None and name == "stem":
        pool = module
    if pool is None or isinstance(pool, ConvModule | StridedConv2d | nn.Identity):
        stage.pool = "strided convolution" if stride > 1 else ""
        return stage
    stage.pool = type(pool).__name__
    for part in pool.modules():
        if isinstance(part, SelfAttentivePool2d):
            stage.patch_size = part.patch_size
        if isinstance(part, SelfAttentivePool2d | AttentionPool2d):
            stage.num_heads = part.attention.num_heads
    if isinstance(pool, WeightedPool2d):
        stage.normalize = pool.normalize
    return stage
