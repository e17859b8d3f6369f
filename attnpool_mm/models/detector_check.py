"""The check that the parts of a detector fit, on real maps."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import ceil
from traceback import extract_tb
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.errors import ConfigError
from ..utils.shapes import on_shapes

# Pixels of the image that shows a backbone's strides: most strides divide it.
SIDE = 1920
# How far a stride may be off: YOLACT's last one is 110 for a map of 128.
TOLERANCE = 1.2
# Of the errors of MMCV's operators, and of others in C++, that need values.
NEEDS_VALUES = ("implementation for device", "data is not allocated")


def check_detector(model: nn.Module) -> None:
    """Check that the parts of a detector fit its backbone.

    The neck has to run on the backbone's maps. The channels of the heads, and the
    strides of anchors, points and RoIs, have to be those of the maps that the neck
    gives, the strides within a fifth: MMDetection would lay its anchors on a part of
    the image alone, or past it, and say nothing. The maps are those of a run of copies
    of backbone and neck without values, which takes next to no memory and time.

    Models that are no detectors pass, and so does what cannot be told: of backbones
    and necks that do not run without values, and of heads without channels or strides.

    Args:
        model (nn.Module): The detector, without a model wrapper.

    Raises:
        ConfigError: They do not fit; the message names the keys, and what is right.

    Example:
        >>> check_detector(nn.Linear(1, 1))
    """
    backbone, neck = (getattr(model, name, None) for name in ("backbone", "neck"))
    heads = {name: getattr(model, name, None) for name in ("rpn_head", "bbox_head")}
    heads = {name: head for name, head in heads.items() if head is not None}
    outputs = outputs_of(backbone) if heads and backbone is not None else None
    if outputs is None:
        return
    channels, strides = outputs
    side = _image_side(heads, strides)

    def check(copies: nn.ModuleList) -> None:
        problems: list[str] = []
        maps = _run_backbone(copies[0], side)
        if neck is not None:
            try:
                maps = _as_maps(copies[1](maps))
            except Exception as error:  # necks have asserts and operators of their own
                problems += _neck_problems(neck, channels, error)
                if not problems:
                    raise _NoMaps(f"{type(neck).__name__} does not run") from error
                maps = None
        if maps is not None:
            problems += _channel_problems(heads, [m.shape[1] for m in maps])
            of_maps = [side / m.shape[-1] for m in maps]
            problems += _stride_problems(model, heads, of_maps)
        if problems:
            raise ConfigError(
                f"{'; '.join(problems)}, since the backbone is "
                f"{type(backbone).__name__} with outputs of {channels} channels and "
                f"strides {strides}"
            )

    parts = nn.ModuleList([backbone] if neck is None else [backbone, neck])
    with torch.no_grad(), suppress(_NoMaps):
        on_shapes(parts, check)


def outputs_of(backbone: nn.Module) -> tuple[list[int], list[int]] | None:
    """The channels and the strides of a backbone's maps.

    They are its `out_channels` and `out_strides`; where it has them not, those of a
    run without values. None where it does not run so, or does not give maps.

    Args:
        backbone (nn.Module): The backbone; it is not changed.

    Example:
        >>> from mmdet.models import ResNet
        >>> outputs_of(ResNet(18))
        ([64, 128, 256, 512], [4, 8, 16, 32])
    """
    given = [getattr(backbone, name, None) for name in ("out_channels", "out_strides")]
    if all(isinstance(numbers, Sequence) for numbers in given):
        return list(given[0]), list(given[1])
    with torch.no_grad(), suppress(_NoMaps):
        maps = on_shapes(backbone, lambda copy: _run_backbone(copy, SIDE))
        return [m.shape[1] for m in maps], [round(SIDE / m.shape[-1]) for m in maps]
    return None


def neck_channels(kind: Any, channels: Sequence[int]) -> list[int]:
    """A neck's `in_channels`, in its own order: a `YOLOV3Neck` has the last map first.

    Args:
        kind (Any): The neck's class, or its name.
        channels (Sequence[int]): Those of the backbone's maps.
    """
    name = str(getattr(kind, "__name__", kind)).rsplit(".", 1)[-1]
    return list(channels)[:: -1 if name == "YOLOV3Neck" else 1]


def reason(error: Exception) -> str:
    """The first line of an error; of a bare assertion, what it asserts."""
    lines = str(error).splitlines()
    return lines[0] if lines else str(extract_tb(error.__traceback__)[-1].line)


def _image_side(heads: dict[str, nn.Module], strides: Sequence[int]) -> int:
    """The side of the image to try, in pixels."""
    generator = getattr(heads.get("bbox_head"), "prior_generator", None)
    if type(generator).__name__.endswith("SSDAnchorGenerator"):
        # The last map is of about one pixel, whose stride then is the image's side.
        return ceil(max(map(max, generator.strides)))
    return 64 * max(strides)  # divisible down to the coarsest level


class _NoMaps(ConfigError):
    """A backbone does not run without values, or gives no maps."""


def _run_backbone(backbone: nn.Module, side: int) -> list[Tensor]:
    """Its maps of an image, of 3 channels or what its first layer takes.

    Raises:
        _NoMaps: There are none.
    """
    first = next((p for p in backbone.parameters() if p.dim() > 2), None)
    taken = () if first is None else (first.shape[-3],)
    for channels in dict.fromkeys((3, *taken)):
        try:
            maps = _as_maps(backbone(torch.empty(1, channels, side, side)))
        except Exception:  # backbones have asserts and operators of their own
            continue
        if maps is not None:
            return maps
    raise _NoMaps(f"{type(backbone).__name__}: no maps of {side}x{side} pixels")


def _as_maps(outputs: Any) -> list[Tensor] | None:
    maps = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    are_maps = all(isinstance(m, Tensor) and m.dim() == 4 for m in maps)
    return maps if are_maps else None


def _neck_problems(
    neck: nn.Module, channels: Sequence[int], error: Exception
) -> Iterator[str]:
    first = neck[0] if isinstance(neck, nn.Sequential) else neck
    given, right = (
        getattr(first, "in_channels", None),
        neck_channels(type(first), channels),
    )
    if isinstance(given, Sequence) and list(given) != right:
        yield f"neck: in_channels={list(given)}: {right} is right"
    # Subclasses of these say that an operator is not there, or needs values.
    elif type(error) in (AssertionError, RuntimeError, ValueError) and not any(
        words in str(error) for words in NEEDS_VALUES
    ):
        yield f"neck: {type(neck).__name__} does not run on the maps ({reason(error)})"


def _channel_problems(
    heads: dict[str, nn.Module], right: Sequence[int]
) -> Iterator[str]:
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
    model: nn.Module, heads: dict[str, nn.Module], of_maps: Sequence[float]
) -> Iterator[str]:
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
