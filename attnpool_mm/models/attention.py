"""Attention on the residual branches, before the sum."""

from typing import Any

import torch
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from mmpretrain.models.utils import SELayer
from torch import Tensor, nn

from ..registry import MODELS, SCOPE
from ..utils.checks import argument_names, check_known_arguments, check_needed_arguments
from ..utils.errors import ConfigError

MODELS.register_module(module=SELayer)  # MMPretrain's, in no registry there

ATTENTION_NAMES = (
    "SPEM",
    "SELayer",
    "ContextBlock",
    "GeneralizedAttention",
    "NonLocal2d",
)


def attention_cfg_by_stage(attention_cfg: Any, num_stages: int) -> list[dict | None]:
    """The attention's config for each stage; None where the stage has none.

    Args:
        attention_cfg (Any): None, one dict for every stage, or a list with a dict or
            None a stage.
        num_stages (int): Number of stages.

    Raises:
        ConfigError: It is something else.
    """
    entries = attention_cfg
    if not isinstance(entries, (list, tuple)):
        entries = [attention_cfg] * num_stages
    dicts = all(entry is None or isinstance(entry, dict) for entry in entries)
    if not dicts or len(entries) != num_stages:
        raise ConfigError(
            f"attention_cfg={attention_cfg!r}: a dict, or a list of {num_stages} "
            "(a dict or None a stage) is accepted"
        )
    return list(entries)


def build_attention(cfg: dict, channels: int) -> nn.Module:
    """Build the attention layer that `cfg` names, whatever the default scope is.

    Args:
        cfg (dict): `dict(type=…, …)`. A bare name is one of this package's layers,
            MMPretrain's `SELayer` or an MMCV plugin layer (`ContextBlock`,
            `GeneralizedAttention`, `NonLocal2d`); `'scope.Name'` is looked up in that
            scope. Any registered module will do that takes `in_channels` or `channels`
            and returns a map of its input's shape.
        channels (int): Channels of the input, unless `cfg` has them.

    Raises:
        ConfigError: `cfg` has no type, or one that is not registered or is no
            attention layer, or an argument that the type does not take, or lacks
            one that it needs; or the layer changes the shape.

    Example:
        >>> layer = build_attention(dict(type='SELayer', ratio=8), 64)
        >>> layer(torch.rand(2, 64, 7, 7)).shape
        torch.Size([2, 64, 7, 7])
    """
    kind = _attention_class(cfg)
    cfg = _with_channels(kind, cfg, channels)
    layer = MODELS.build({"_scope_": SCOPE, **cfg})
    _check_shape(layer, cfg["type"], channels)
    return layer


def _attention_class(cfg: dict) -> type:
    if not isinstance(cfg, dict) or "type" not in cfg:
        raise ConfigError(
            f"attention_cfg={cfg!r}: a dict with the key 'type' is accepted"
        )
    kind = cfg["type"]
    if isinstance(kind, str):
        try:
            kind = MODELS.get(kind)
        except RuntimeError:  # what MMEngine raises for a name without a dot
            kind = None
    if not isinstance(kind, type):
        raise ConfigError(
            f"attention_cfg type={cfg['type']!r} is not registered: accepted are "
            f"{', '.join(ATTENTION_NAMES)}, or a registered 'scope.Name'"
        )
    return kind


def _with_channels(kind: type, cfg: dict, channels: int) -> dict:
    """`cfg` with the channels, under the name that the class gives them."""
    names = argument_names(kind)
    channel_names = [name for name in ("in_channels", "channels") if name in names]
    if not channel_names:
        raise ConfigError(
            f"attention_cfg type={cfg['type']!r}: an attention layer takes in_channels "
            f"or channels, {kind.__name__} takes {', '.join(names)}"
        )
    cfg = {channel_names[0]: channels, **cfg}
    given = set(cfg) - {"type", "_scope_"}
    check_known_arguments(kind, given)
    check_needed_arguments(kind, given)
    return cfg


@torch.no_grad()
def _check_shape(layer: nn.Module, name: Any, channels: int) -> None:
    """Run the layer once: a MobileNetV2 would go on with a map of another shape."""
    x = torch.zeros(1, channels, 4, 4)
    training = layer.training
    y = layer.eval()(x)
    layer.train(training)
    if getattr(y, "shape", None) != x.shape:
        raise ConfigError(
            f"attention_cfg type={name!r}: a layer that keeps the shape of its input "
            f"is accepted, it makes {tuple(getattr(y, 'shape', ()))} of "
            f"{tuple(x.shape)}"
        )


class AttentionInBlock:
    """Mixin for MMPretrain's residual blocks: attention after the last norm.

    The layer is the block's `attention`; all other names stay.

    Args:
        *args (Any): Arguments of the block.
        attention_cfg (dict): As `cfg` in `build_attention`.
        **kwargs (Any): Arguments of the block.
    """

    def __init__(self, *args: Any, attention_cfg: dict, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.attention = build_attention(attention_cfg, self.out_channels)
        self.stochastic_depth = self._modules.pop("drop_path")

    def drop_path(self, out: Tensor) -> Tensor:
        """What the block's forward does with its branch before the sum."""
        return self.stochastic_depth(self.attention(out))


class AttentionBasicBlock(AttentionInBlock, BasicBlock):
    """MMPretrain's `BasicBlock` with attention."""


class AttentionBottleneck(AttentionInBlock, Bottleneck):
    """MMPretrain's `Bottleneck` with attention."""


WITH_ATTENTION = {BasicBlock: AttentionBasicBlock, Bottleneck: AttentionBottleneck}
