"""Which boxes of a COCO json MMDetection trains on, and which it leaves out."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..utils.errors import ConfigError
from .coco_file import CocoFile


@dataclass
class Boxes:
    """The boxes that MMDetection's `CocoDataset` makes of a file.

    Attributes:
        images: The ids of the images that it keeps.
        count: The boxes of the chosen classes on these images, crowds not counted.
        left_out: How many boxes are left out without a word, by the reason.
    """

    images: list
    count: int
    left_out: dict[str, int]


def count_boxes(
    where: str,
    coco: CocoFile,
    classes: Collection[str],
    filter_cfg: dict | None = None,
    indices: Any = None,
) -> Boxes:
    """Count the boxes that are trained on, by the rules of MMDetection's `CocoDataset`.

    It leaves out what is not a number, what is less than a pixel wide or high, what
    lies outside of its image, what has no area, and what is of no image or category.

    Args:
        where (str): The key of the config that names the file, for messages.
        coco (CocoFile): The file; `check_annotations` has seen its `bbox` and `area`.
        classes (Collection[str]): The names of the classes that are trained.
        filter_cfg (dict | None): What the data set filters its images with; None keeps
            all. Default: None.
        indices (Any): The data set's `indices`: how many images, or which. Default:
            None.

    Raises:
        ConfigError: A box has an endless width or height, which MMDetection takes.
    """
    ids = list(coco.images)
    widths = np.array([image["width"] for image in coco.images.values()], float)
    heights = np.array([image["height"] for image in coco.images.values()], float)
    rows = [row for row in coco.annotations if not row.get("ignore")]
    place = {image: i for i, image in enumerate(ids)}
    chosen = {number for number, name in coco.categories.items() if name in classes}
    try:
        images = np.array([place.get(row["image_id"], -1) for row in rows], int)
        known = np.array([row["category_id"] in coco.categories for row in rows], bool)
        wanted = np.array([row["category_id"] in chosen for row in rows], bool)
    except TypeError as error:  # a list as an id
        raise ConfigError(
            f"{where}={coco.path!r}: image_id, category_id: {error}"
        ) from error
    boxes = np.array([row["bbox"] for row in rows], float).reshape(-1, 4)
    areas = np.array([row["area"] for row in rows], float)
    crowd = np.array([bool(row.get("iscrowd")) for row in rows], bool)
    reasons = _reasons(boxes, areas, widths[images], heights[images])
    reasons = {"of an unknown image": images < 0, **reasons}
    reasons["of an unknown category"] = ~known
    left_out, used = {}, np.ones(len(rows), bool)
    for reason, mask in reasons.items():
        left_out[reason] = int((mask & used).sum())
        used &= ~mask
    endless = used & wanted & ~np.isfinite(boxes).all(1)
    if endless.any():
        row = rows[int(endless.argmax())]
        raise ConfigError(
            f"{where}={coco.path!r}: bbox={row['bbox']!r} in the annotation with id "
            f"{row['id']}; four finite numbers are accepted"
        )
    kept = _kept_images(filter_cfg, widths, heights, images[(images >= 0) & wanted])
    kept = kept[_selection(indices)]
    used &= wanted & ~crowd
    count = int(np.isin(images[used], kept).sum())
    left_out = {reason: number for reason, number in left_out.items() if number}
    return Boxes([ids[i] for i in kept], count, left_out)


def _reasons(
    boxes: np.ndarray, areas: np.ndarray, widths: np.ndarray, heights: np.ndarray
) -> dict[str, np.ndarray]:
    """What `CocoDataset.parse_data_info` leaves out, each reason a mask."""
    x, y, w, h = boxes.T
    with np.errstate(invalid="ignore"):
        inside_x = np.minimum(x + w, widths) - np.maximum(x, 0)
        inside_y = np.minimum(y + h, heights) - np.maximum(y, 0)
        return {
            "not a number": np.isnan(boxes).any(1),
            "less than 1 pixel wide or high": (w < 1) | (h < 1),
            "outside of their image": ~((inside_x > 0) & (inside_y > 0)),
            "without an area": areas <= 0,
        }


def _kept_images(
    filter_cfg: dict | None, widths: np.ndarray, heights: np.ndarray, named: np.ndarray
) -> np.ndarray:
    """The images that `CocoDataset.filter_data` keeps, by their places."""
    keep = np.ones(len(widths), bool)
    if filter_cfg is not None:
        keep = np.minimum(widths, heights) >= filter_cfg.get("min_size", 0)
        if filter_cfg.get("filter_empty_gt", False):
            keep &= np.isin(np.arange(len(widths)), named)
    return np.flatnonzero(keep)


def _selection(indices: Any) -> Any:
    """MMEngine's `indices` as an index: a number is so many, the first or the last."""
    if indices is None:
        return slice(None)
    if isinstance(indices, int):
        return slice(indices) if indices >= 0 else slice(indices, None)
    return list(indices)
