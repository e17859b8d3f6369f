"""A config whose images have another size."""

from collections.abc import Sequence
from typing import Any

from mmengine.config import Config

from ..utils.checks import check_int
from ..utils.config import CROPPING, RESIZING, datasets_of, image_size, type_name
from ..utils.errors import ConfigError

SIZES = {**RESIZING, **CROPPING}
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def set_image_size(cfg: Config, size: int) -> None:
    """Let a config train and test with square images of another size.

    What resizes and crops in its pipelines does so to sizes in the same ratio to one
    another: `ResizeEdge` 256 before `CenterCrop` 224 becomes 146 before 128. A pipeline
    that leaves the images as they are gets a `Resize` after what loads them.

    Args:
        cfg (Config): A whole config of a classifier; its pipelines are changed.
        size (int): Width and height in pixels.

    Raises:
        ConfigError: The config's own images are not square, or its pipelines do not
            come to that size: those of detectors keep a ratio, or pad.

    Example:
        >>> pipeline = [dict(type='ResizeEdge', scale=256, edge='short'),
        ...             dict(type='CenterCrop', crop_size=224)]
        >>> cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
        >>> set_image_size(cfg, 128)
        >>> [step.get('scale', step.get('crop_size'))
        ...  for step in cfg.test_dataloader.dataset.pipeline]
        [146, 128]
    """
    check_int("size", size)
    height, width = image_size(cfg)
    if height != width:
        raise ConfigError(
            f"size={size}: the config's images have {height}x{width} pixels; the size "
            "of square ones can be changed"
        )
    seen: list[Any] = []  # test and validation may be the same
    for loader in LOADERS:
        outer = (cfg.get(loader) or {}).get("dataset")
        for _, dataset in datasets_of(outer, loader):
            if not any(dataset is other for other in seen):
                seen.append(dataset)
                dataset.pipeline = _resized(dataset.get("pipeline") or [], size, height)
    if image_size(cfg) != (size, size):
        height, width = image_size(cfg)
        raise ConfigError(
            f"size={size}: the pipelines, with the preprocessor's padding, come to "
            f"{height}x{width}"
        )


def _resized(pipeline: Sequence[dict], size: int, before: int) -> list[dict]:
    """The steps of a pipeline for images that were `before` pixels wide."""

    def scaled(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(map(scaled, value))
        return max(1, round(value * size / before))

    steps = [dict(step) for step in pipeline]
    for step in steps:
        key = SIZES.get(type_name(step))
        if step.get(key) is not None:
            step[key] = scaled(step[key])
        if type_name(step) == "RandomCrop" and step.get("padding"):
            step["padding"] = scaled(step["padding"])
    if not any(type_name(s) in {*RESIZING, "RandomResizedCrop"} for s in steps):
        loading = [i for i, s in enumerate(steps) if type_name(s).startswith("Load")]
        place = max(loading, default=-1) + 1
        steps.insert(place, dict(type="Resize", scale=size))
    return steps
