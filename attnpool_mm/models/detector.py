"""A detector whose neck follows its backbone, and the check that its parts fit."""

import difflib
import math
from collections.abc import Iterator, Sequence
from inspect import isclass
from itertools import pairwise
from typing import Any

import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from ..registry import MODELS
from ..utils.checks import check_known_arguments, check_needed_arguments
from ..utils.errors import ConfigError
from ..utils.shapes import shapes_only

# How far a stride may be off: YOLACT's last one is 110 for a map of 128.
TOLERANCE = 1.2


@MODELS.register_module()
def AttnPoolDetector(
    detector: str,
    backbone: dict | nn.Module,
    neck: dict | Sequence[dict] | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Build one of MMDetection's detectors; the neck gets the backbone's channels.

    For configs whose backbone changes on the command line, as that of an architecture
    keyword does: `neck.in_channels` need not be changed with it. The strides of
    anchors and RoIs must be, and are checked.

    Args:
        detector: Name of the detector, e.g. 'FasterRCNN' or 'SingleStageDetector'.
        backbone: The backbone, or its config.
        neck: Config of the neck, or a list of them. `in_channels`, where it is None,
            is filled in, and so are the entries of an `SSDNeck`'s `out_channels` that
            are None.
        **kwargs: Other arguments of the detector. A `bbox_head.in_channels` that is
            None is filled in with the channels that the head gets.

    Raises:
        ConfigError: There is no such detector, it does not take these arguments, or
            its parts do not fit, as in `check_detector`.

    Example:
        >>> model = AttnPoolDetector(
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
            necks[0] = _filled_neck(necks[0], backbone)
            kwargs["neck"] = necks[0] if isinstance(neck, dict) else necks
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


def check_detector(model: nn.Module) -> None:
    """Check that the parts of a detector fit its backbone.

    That the neck, or without one the head, takes the channels that the backbone
    gives; and that the strides of anchors, points and RoIs are those of the maps,
    within a fifth: MMDetection would lay its anchors on a part of the image alone, or
    past it, and say nothing. The maps are those of a run of copies of the backbone and
    the neck without values, which takes next to no memory and time.

    Models that are no detectors pass, and so do backbones that do not say their
    `out_channels` (strides: `out_strides`), necks that do not run without values, and
    heads without channels or strides.

    Args:
        model: The detector, without a model wrapper.

    Raises:
        ConfigError: They do not fit; the message names the keys, and what is right.

    Example:
        >>> check_detector(nn.Linear(1, 1))
    """
    backbone = getattr(model, "backbone", None)
    heads = {name: getattr(model, name, None) for name in ("rpn_head", "bbox_head")}
    heads = {name: head for name, head in heads.items() if head is not None}
    if not heads or not isinstance(getattr(backbone, "out_channels", None), Sequence):
        return
    neck = getattr(model, "neck", None)
    if neck is not None:
        _check_ssd_and_yolo_necks(neck, backbone)
    side = _image_side(neck, heads, backbone)
    maps = _maps(neck, backbone, side)
    if maps is None:
        return
    problems = [*_channel_problems(heads, maps)]
    if hasattr(backbone, "out_strides"):
        problems += _stride_problems(model, heads, maps, side)
    if problems:
        raise ConfigError(
            f"{'; '.join(problems)}, since the backbone is {_name(backbone)}"
        )


def _name(backbone: nn.Module) -> str:
    strides = getattr(backbone, "out_strides", None)
    of_strides = f" with outputs of strides {list(strides)}" if strides else ""
    return f"{type(backbone).__name__}{of_strides}"


def _detector_class(name: str) -> type:
    # Imported here: it takes seconds, and classifiers do not need it.
    from mmdet.models import BaseDetector
    from mmdet.registry import MODELS as MMDET_MODELS

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
    channels = getattr(backbone, "out_channels", None)
    if not isinstance(channels, Sequence):
        raise ConfigError(
            f"in_channels must be given, since {type(backbone).__name__} has no "
            "out_channels"
        )
    return list(channels)


def _filled_neck(neck: dict, backbone: nn.Module) -> dict:
    """The neck's config with the channels that it leaves open."""
    name = neck.get("type")
    if not isclass(name) and MODELS.get(str(name)) is None:
        raise ConfigError(f"neck: type={name!r}: the name of a neck of MMDetection, "
                          "such as FPN, is accepted")  # fmt: skip
    kind = str(name).rsplit(".", 1)[-1]
    neck = dict(neck)
    if neck.get("in_channels") is None:
        channels = _channels(backbone)
        neck["in_channels"] = channels[::-1] if kind == "YOLOV3Neck" else channels
    else:
        _check_in_channels(neck["in_channels"], kind, backbone)
    if kind == "SSDNeck" and isinstance(neck.get("out_channels"), Sequence):
        inputs, outputs = list(neck["in_channels"]), list(neck["out_channels"])
        for i, channels in enumerate(inputs[: len(outputs)]):
            outputs[i] = channels if outputs[i] is None else outputs[i]
        if outputs[: len(inputs)] != inputs or None in outputs:
            raise ConfigError(
                f"neck: out_channels={list(neck['out_channels'])}: they begin with "
                f"those of {type(backbone).__name__}, {inputs}"
            )
        more = len(outputs) - len(inputs)
        for key in ("level_strides", "level_paddings"):
            given = neck.get(key)
            listed = isinstance(given, Sequence)
            if not (listed and 0 < more == len(given)):
                raise ConfigError(
                    f"neck: {key}={list(given) if listed else given!r} for "
                    f"out_channels={outputs}: a list with one entry for each that "
                    f"follows those of {type(backbone).__name__}, {inputs}, is accepted"
                )
        neck.update(in_channels=inputs, out_channels=outputs)
    return neck


def _check_in_channels(given: Any, kind: str, backbone: nn.Module) -> None:
    right = getattr(backbone, "out_channels", None)
    if not isinstance(right, Sequence) or not isinstance(given, Sequence):
        return
    right, order = list(right), ""
    if kind == "YOLOV3Neck":
        right, order = right[::-1], ", the last first"
    if list(given) != right:
        raise ConfigError(
            f"neck: in_channels={list(given)}: {type(backbone).__name__} gives "
            f"{right}{order}"
        )


def _check_ssd_and_yolo_necks(neck: nn.Module, backbone: nn.Module) -> None:
    """Check what these two need, and a run of the neck would not tell."""
    kind, name = type(neck).__name__, type(backbone).__name__
    strides = getattr(backbone, "out_strides", ())
    if kind == "SSDNeck":  # it keeps no in_channels
        given, right = neck.extra_layers[0][0].in_channels, backbone.out_channels[-1]
        if given != right:
            raise ConfigError(f"neck: in_channels[-1]={given}: {name} gives {right}")
    elif kind == "YOLOV3Neck" and any(2 * a != b for a, b in pairwise(strides)):
        raise ConfigError(
            "neck: YOLOV3Neck needs maps that halve from one to the next; the strides "
            f"of {name} are {list(strides)}"
        )


def _image_side(
    neck: nn.Module | None, heads: dict[str, nn.Module], backbone: nn.Module
) -> int:
    """The side of the image to try, in pixels."""
    if type(neck).__name__ == "SSDNeck":
        # Its last map is about one pixel, whose stride then is the image's side.
        generator = getattr(heads["bbox_head"], "prior_generator", None)
        if hasattr(generator, "strides"):
            return math.ceil(max(map(max, generator.strides)))
    # Divisible down to the coarsest level
    return 64 * getattr(backbone, "out_strides", (1,))[-1]


def _maps(
    neck: nn.Module | None, backbone: nn.Module, side: int
) -> list[torch.Size] | None:
    """The shapes of the maps that the heads get; None where they cannot be told.

    Raises:
        ConfigError: The neck fails, and its channels are not those of the backbone.
    """
    parts = nn.ModuleList([backbone] if neck is None else [backbone, neck])
    channels = next(backbone.parameters()).shape[-3]  # of the image, in its first layer
    with torch.no_grad(), shapes_only(parts) as copies:
        maps: Any = torch.empty(1, channels, side, side)
        for part, copy in zip(("backbone", "neck"), copies, strict=False):
            try:
                maps = copy(maps)
            except Exception:  # anything: parts have inputs and operators of their own
                if part == "neck":
                    first = neck[0] if isinstance(neck, nn.Sequential) else neck
                    given = getattr(first, "in_channels", None)
                    _check_in_channels(given, type(first).__name__, backbone)
                return None
    maps = [maps] if isinstance(maps, Tensor) else list(maps)
    if not all(isinstance(m, Tensor) and m.dim() == 4 for m in maps):
        return None
    return [m.shape for m in maps]


def _channel_problems(
    heads: dict[str, nn.Module], maps: Sequence[torch.Size]
) -> Iterator[str]:
    right = [shape[1] for shape in maps]
    for name, head in heads.items():
        given = getattr(head, "in_channels", None)
        listed = isinstance(given, Sequence)
        if listed:
            fits = list(given) == right
        elif isinstance(given, int) and hasattr(head, "prior_generator"):
            fits = all(channels == given for channels in right)
        else:
            continue
        if not fits:
            shown = list(given) if listed else given
            yield f"{name}: in_channels={shown}: it gets maps of {right} channels"


def _stride_problems(
    model: nn.Module,
    heads: dict[str, nn.Module],
    maps: Sequence[torch.Size],
    side: int,
) -> Iterator[str]:
    of_maps = [side / shape[-1] for shape in maps]
    for key, given in _strides(model, heads):
        given = [_pair(stride) for stride in given]
        # An extractor of RoIs takes the first maps, a head all of them.
        right = of_maps[: len(given)] if "extractor" in key else of_maps
        if len(given) == len(right) and all(
            max(stride / fits, fits / stride) <= TOLERANCE
            for pair, fits in zip(given, right, strict=True)
            for stride in pair
        ):
            continue
        shown = [a if a == b else (a, b) for a, b in given]
        yield f"{key}={shown}: {[round(stride) for stride in right]} is right"


def _strides(
    model: nn.Module, heads: dict[str, nn.Module]
) -> Iterator[tuple[str, Sequence]]:
    """The strides that the heads go by, and their keys in the config."""
    for name, head in heads.items():
        generator = getattr(head, "prior_generator", None)
        if hasattr(generator, "strides"):
            anchors = hasattr(generator, "base_anchors")
            key = "anchor_generator.strides" if anchors else "strides"
            yield f"{name}: {key}", generator.strides
        if hasattr(head, "featmap_strides"):
            yield f"{name}: featmap_strides", head.featmap_strides
    roi_head = getattr(model, "roi_head", None)
    for name in ("bbox_roi_extractor", "mask_roi_extractor"):
        extractor = getattr(roi_head, name, None)
        if isinstance(extractor, nn.ModuleList):  # of a cascade, from one config
            extractor = extractor[0]
        if hasattr(extractor, "featmap_strides"):
            yield f"roi_head: {name}.featmap_strides", extractor.featmap_strides


def _pair(stride: Any) -> tuple:
    return tuple(stride) if isinstance(stride, Sequence) else (stride, stride)
