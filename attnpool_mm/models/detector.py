"""A detector whose neck and head follow its backbone."""

import difflib
from collections.abc import Sequence
from inspect import isclass
from typing import Any

from mmengine.model import Sequential
from mmengine.registry import DefaultScope
from torch import nn

from ..registry import MODELS
from ..utils.checks import check_known_arguments, check_needed_arguments
from ..utils.errors import ConfigError
from .detector_check import check_detector, neck_channels, outputs_of, reason

__all__ = ["attn_pool_detector", "check_detector"]


@MODELS.register_module(name="AttnPoolDetector")
def attn_pool_detector(
    detector: str | type,
    backbone: dict | nn.Module,
    neck: dict | Sequence[dict] | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Build one of MMDetection's detectors; the neck gets the backbone's channels.

    In a config its name is `AttnPoolDetector`. It is for configs whose backbone changes
    on the command line, as that of an architecture keyword does: `neck.in_channels`
    need not be changed with it. The strides of anchors and RoIs must be, and are
    checked.

    Args:
        detector (str | type): Name of the detector, e.g. 'FasterRCNN' or
            'SingleStageDetector', or its class.
        backbone (dict | nn.Module): The backbone, or its config: any that gives maps.
        neck (dict | Sequence[dict] | None): Config of the neck, or a list of them.
            Where the (first) neck's `in_channels` is None, it is filled in, and so are
            the first of the `out_channels` of an `SSDNeck`. Default: None.
        **kwargs (Any): Other arguments of the detector. A `bbox_head.in_channels` that
            is None is filled in with the channels that the head gets.

    Returns:
        The detector, an object of its own class.

    Raises:
        ConfigError: There is no such detector, it does not take these arguments, or
            its parts do not fit, as in `check_detector`.

    Example:
        >>> model = attn_pool_detector(
        ...     'RetinaNet',
        ...     backbone=dict(type='attnpool_mm.AttnPoolBackbone',
        ...                   arch='resnet18-lip-1222', out_indices=(1, 2, 3)),
        ...     neck=dict(type='FPN', in_channels=None, out_channels=64, num_outs=5,
        ...               add_extra_convs='on_input'),
        ...     bbox_head=dict(
        ...         type='RetinaHead', num_classes=8, in_channels=64,
        ...         anchor_generator=dict(
        ...             type='AnchorGenerator', scales=[4], ratios=[1.0],
        ...             strides=[8, 16, 32, 64, 128])))
        >>> model.neck.in_channels
        [128, 256, 512]
    """
    with DefaultScope.overwrite_default_scope("mmdet"):
        kind = _detector_class(detector)
        if not isinstance(backbone, nn.Module):
            backbone = MODELS.build(backbone)
        necks = [neck] if isinstance(neck, dict) else list(neck or ())
        if necks:
            necks[0] = _filled(necks[0], backbone)
            built = [_build_neck(cfg, backbone) for cfg in necks]
            whole = built[0] if isinstance(neck, dict) else Sequential(*built)
            kwargs["neck"] = dict(type=lambda: whole)
        head = kwargs.get("bbox_head")
        if isinstance(head, dict) and head.get("in_channels", 0) is None:
            given = [n["out_channels"] for n in necks if "out_channels" in n]
            channels = given[-1] if given else _channels(backbone)
            kwargs["bbox_head"] = {**head, "in_channels": channels}
        kwargs["backbone"] = dict(type=lambda: backbone)
        check_known_arguments(kind, kwargs)
        check_needed_arguments(kind, kwargs)
        model = kind(**kwargs)
    check_detector(model)
    return model


def _detector_class(name: str | type) -> type:
    # Imported here: it takes seconds, and classifiers do not need it.
    from mmdet.models import BaseDetector
    from mmdet.registry import MODELS as MMDET_MODELS

    kind = name
    if not isclass(name):
        kind = MODELS.get(name if "." in str(name) else f"mmdet.{name}")
    if isclass(kind) and issubclass(kind, BaseDetector):
        return kind
    names = [
        name
        for name, kind in MMDET_MODELS.module_dict.items()
        if isclass(kind) and issubclass(kind, BaseDetector)
    ]
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(
        f"detector={name!r}: the name of a detector of MMDetection is accepted, such "
        f"as FasterRCNN{hint}"
    )


def _channels(backbone: nn.Module) -> list[int]:
    outputs = outputs_of(backbone)
    if outputs is None:
        raise ConfigError(
            f"in_channels=None: it must be given, since {type(backbone).__name__} has "
            "no out_channels, and a run without values gives no maps (B, C, H, W)"
        )
    return outputs[0]


def _filled(neck: dict, backbone: nn.Module) -> dict:
    """The neck's config with the channels that it leaves open."""
    neck = dict(neck)
    if neck.get("in_channels") is None:
        neck["in_channels"] = neck_channels(neck.get("type"), _channels(backbone))
    inputs, outputs = neck["in_channels"], neck.get("out_channels")
    if isinstance(inputs, Sequence) and isinstance(outputs, Sequence):  # SSDNeck
        neck["in_channels"] = inputs = list(inputs)
        neck["out_channels"] = [
            inputs[i] if channels is None and i < len(inputs) else channels
            for i, channels in enumerate(outputs)
        ]
    return neck


def _build_neck(cfg: dict, backbone: nn.Module) -> nn.Module:
    try:
        return MODELS.build(cfg)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        given = [f"{k}={v}" for k, v in cfg.items() if not isinstance(v, dict)]
        name, outputs = type(backbone).__name__, outputs_of(backbone)
        raise ConfigError(
            f"neck: {', '.join(given)}: it cannot be built ({reason(error)}); the maps "
            f"of {name} have {outputs[0] if outputs else 'unknown'} channels"
        ) from error
