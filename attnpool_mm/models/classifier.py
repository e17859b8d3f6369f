"""A classifier whose head follows its backbone."""

from collections.abc import Sequence
from typing import Any

from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from torch import nn

from ..registry import MODELS
from ..utils.errors import ConfigError
from ..utils.signatures import unknown_arguments

GLOBAL_AVERAGE = dict(type="mmpretrain.GlobalAveragePooling")


@MODELS.register_module()
class AttnPoolClassifier(ImageClassifier):
    """MMPretrain's `ImageClassifier`; the head gets the backbone's channels.

    It is for configs whose backbone changes on the command line, as that of an
    architecture keyword does: `head.in_channels` need not be changed with it.

    Args:
        backbone (dict | nn.Module): The backbone, or its config.
        neck (dict | nn.Module | None): A neck that keeps the channels, or its config.
            Default: `GlobalAveragePooling`.
        head (dict | nn.Module | None): The head, or its config, in which `in_channels`,
            where the head takes it and it is not given, is the number of channels of
            the backbone's last output. Default: None.
        **kwargs (Any): Other arguments of `ImageClassifier`.

    Raises:
        ConfigError: `head` needs `in_channels`, and the backbone does not say how
            many it has.

    Example:
        >>> classifier = AttnPoolClassifier(
        ...     backbone=dict(type='attnpool_mm.AttnPoolBackbone',
        ...                   arch='resnet18-lip-1222'),
        ...     head=dict(type='mmpretrain.LinearClsHead', num_classes=10))
        >>> classifier.head.in_channels
        512
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        neck: dict | nn.Module | None = GLOBAL_AVERAGE,
        head: dict | nn.Module | None = None,
        **kwargs: Any,
    ):
        if not isinstance(backbone, nn.Module):
            backbone = MODELS.build(backbone)
        if isinstance(head, dict) and _lacks_channels(head):
            channels = getattr(backbone, "out_channels", None)
            if channels is None:
                raise ConfigError(
                    f"head: in_channels must be given, since {type(backbone).__name__} "
                    "has no out_channels"
                )
            # A number in MMPretrain's EfficientNet, one for each output in ours
            last = channels[-1] if isinstance(channels, Sequence) else channels
            head = {**head, "in_channels": last}
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)


def _lacks_channels(head: dict) -> bool:
    """Whether a head may take `in_channels` and its config does not give them."""
    if "in_channels" in head:
        return False
    kind = head.get("type")
    if isinstance(kind, str):
        with MODELS.switch_scope_and_registry("mmpretrain") as registry:
            kind = registry.get(kind)
    # of what is unknown, the registry says so when it is built
    return kind is not None and not unknown_arguments(kind, ["in_channels"])
