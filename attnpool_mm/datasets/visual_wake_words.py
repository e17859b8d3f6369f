"""Visual Wake Words: is there a person in the picture? Labels from COCO's boxes."""

import os
import re
from numbers import Real
from pathlib import Path
from reprlib import repr as shown
from typing import Any

import mmengine
from mmengine.fileio import get_file_backend
from mmpretrain.datasets import BaseDataset

from ..registry import DATASETS
from ..utils.checks import check_bool
from ..utils.errors import ConfigError

BACKGROUND = "background"
LARGEST = 10**15  # pixels of a side, so that areas are finite
NO_PATH = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]|^\s|^$")
EXPECTED = (
    "expected is a json of COCO's instances, such as annotations/instances_val2017.json"
)


@DATASETS.register_module()
class VisualWakeWords(BaseDataset):
    """Visual Wake Words for MMPretrain's classifiers, out of COCO's own files.

    An image is of class 1, 'person', if it has a box of a person that covers at least
    ``threshold`` of its area; of class 0, 'background', if not. Every image of the
    json is a sample, one without annotations too, in the json's order, with
    ``img_path`` and ``gt_label``.

    The area is that of the box, not of the mask inside it (COCO's ``area``). A crowd's
    box (``iscrowd``) counts as any other, unless ``skip_crowd`` is set.

    The published split is COCO 2014's train and val images, divided anew into
    "maxitrain" and "minival"; train2017 and val2017 are another division of images.
    Jsons of either work here. Those of train2017 take seconds and gigabytes to read:
    ``tools/dataset_converters/coco_to_visual_wake_words.py`` makes a list of one, for
    MMPretrain's ``CustomDataset``.

    Source: Chowdhery et al., "Visual Wake Words Dataset", arXiv 1906.05721.

    Args:
        ann_file (str): The json of COCO's instances, absolute or below ``data_root``.
        data_root (str): The folder of ``ann_file`` and ``data_prefix``. Default: ''.
        data_prefix (str | dict): The folder of the images, or
            ``dict(img_path=FOLDER)``. Default: ''.
        threshold (float): The smallest share of the image that a box counts from, 0 to
            1. Default: 0.005.
        foreground (str): The category that makes class 1, by its name in the json.
            Default: 'person'.
        skip_crowd (bool): Whether to leave out the boxes of crowds. Default: False.
        **kwargs (Any): Other arguments of MMPretrain's ``BaseDataset``, such as
            ``pipeline`` and ``indices``.

    Raises:
        ConfigError: If an argument is outside of what is accepted, or the json is
            absent, broken, or none of COCO's instances with ``foreground``.

    Example:
        >>> import json
        >>> _ = Path('instances.json').write_text(json.dumps(dict(
        ...     images=[dict(id=7, file_name='7.jpg', width=20, height=10)],
        ...     annotations=[dict(image_id=7, category_id=1, bbox=[5, 5, 2, 3])],
        ...     categories=[dict(id=1, name='person')])))
        >>> dataset = VisualWakeWords('instances.json', data_prefix='images')
        >>> dataset[0]['img_path'], dataset[0]['gt_label']
        ('images/7.jpg', 1)
    """

    METAINFO = {"classes": (BACKGROUND, "person")}

    def __init__(
        self,
        ann_file: str,
        data_root: str = "",
        data_prefix: str | dict = "",
        threshold: float = 0.005,
        foreground: str = "person",
        skip_crowd: bool = False,
        **kwargs: Any,
    ):
        _check_arguments(ann_file, threshold, foreground)
        if isinstance(data_prefix, dict) and set(data_prefix) != {"img_path"}:
            raise ConfigError(
                f"data_prefix={dict(data_prefix)!r}: the folder of the images, or "
                "dict(img_path=FOLDER), is accepted"
            )
        self.threshold = threshold
        self.foreground = foreground
        self.skip_crowd = check_bool("skip_crowd", skip_crowd)
        kwargs.setdefault("classes", (BACKGROUND, foreground))
        super().__init__(
            ann_file=ann_file,
            data_root=os.path.expanduser(data_root or ""),
            data_prefix=data_prefix,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """The path and the label of every image."""
        labels = read_wake_word_labels(
            self.ann_file, self.threshold, self.foreground, self.skip_crowd
        )
        backend = get_file_backend(self.img_prefix, enable_singleton=True)
        return [
            {"img_path": backend.join_path(self.img_prefix, name), "gt_label": label}
            for name, label in labels
        ]

    def extra_repr(self) -> list[str]:
        """What ``repr`` adds to MMPretrain's."""
        what = f"{self.foreground}, from {self.threshold} of the image"
        if self.skip_crowd:
            what += ", no crowds"
        return [*super().extra_repr(), f"Foreground: \t{what}"]


def read_wake_word_labels(
    ann_file: str | Path,
    threshold: float = 0.005,
    foreground: str = "person",
    skip_crowd: bool = False,
) -> list[tuple[str, int]]:
    """Label the images of a COCO json by whether the foreground is in them.

    Args:
        ann_file (str | Path): The json of COCO's instances.
        threshold (float): See :class:`VisualWakeWords`, as for the next two. Default:
            0.005.
        foreground (str): The category that makes class 1. Default: 'person'.
        skip_crowd (bool): Whether to leave out the boxes of crowds. Default: False.

    Returns:
        The ``file_name`` and the label, 0 or 1, of every image, in the json's order.

    Raises:
        ConfigError: As of :class:`VisualWakeWords`.

    Example:
        >>> import json
        >>> _ = Path('instances.json').write_text(json.dumps(dict(
        ...     images=[dict(id=7, file_name='7.jpg', width=20, height=10)],
        ...     annotations=[], categories=[dict(id=1, name='person')])))
        >>> read_wake_word_labels('instances.json')
        [('7.jpg', 0)]
    """
    _check_arguments(ann_file, threshold, foreground)
    coco = _load_instances(ann_file)
    wanted = _category_ids(ann_file, coco["categories"], foreground)
    largest: dict[Any, float] = {}
    for index, annotation in enumerate(coco["annotations"]):
        where = f"{ann_file}: annotations[{index}]"
        _require_ids(where, annotation, "image_id", "category_id")
        if annotation["category_id"] not in wanted:
            continue
        if skip_crowd and annotation.get("iscrowd"):
            continue
        image_id = annotation["image_id"]
        area = _box_area(where, annotation)
        largest[image_id] = max(largest.get(image_id, 0), area)
    labels = []
    for index, image in enumerate(coco["images"]):
        image_area = _image_area(f"{ann_file}: images[{index}]", image)
        # Divided, not multiplied: a share that equals the threshold is then the same
        # float, whatever the threshold.
        label = (
            image["id"] in largest and largest[image["id"]] / image_area >= threshold
        )
        labels.append((image["file_name"], int(label)))
    known = {image["id"] for image in coco["images"]}
    by_text = {str(known_id) for known_id in known}
    for image_id in largest.keys() - known:
        if str(image_id) in by_text:  # a number here, and a text there
            raise ConfigError(
                f"{ann_file}: image_id={image_id!r} in annotations is of another type "
                "than that image's id; the same in both are accepted"
            )
    return labels


def _check_arguments(ann_file: str | Path, threshold: float, foreground: str) -> None:
    if not ann_file:
        raise ConfigError(f"ann_file={ann_file!r}: {EXPECTED}")
    if not _is_number(threshold) or not 0 <= threshold <= 1:
        raise ConfigError(
            f"threshold={threshold!r}: a share of the image's area, from 0 to 1, is "
            "accepted"
        )
    if not isinstance(foreground, str) or not foreground:
        raise ConfigError(
            f"foreground={foreground!r}: the name of one of the json's categories is "
            "accepted"
        )


def _load_instances(path: str | Path) -> dict:
    """The content of a json that has what COCO's instances have."""
    try:
        coco = mmengine.load(path, file_format="json")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; {EXPECTED}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: it cannot be read ({error}); {EXPECTED}") from error
    if isinstance(coco, list):
        raise ConfigError(f"{path}: it is a list, as detections are; {EXPECTED}")
    _require(f"{path}: the json", coco, "images", "annotations", "categories")
    for key in ("images", "annotations", "categories"):
        if not isinstance(coco[key], list):
            raise ConfigError(f"{path}: {key!r} is no list; {EXPECTED}")
    if not coco["images"]:
        raise ConfigError(f"{path}: 'images' is empty; {EXPECTED}")
    return coco


def _category_ids(path: str | Path, categories: list[dict], name: str) -> set:
    for index, category in enumerate(categories):
        where = f"{path}: categories[{index}]"
        _require(where, category, "name")
        _require_ids(where, category, "id")
    found = {category["id"] for category in categories if category["name"] == name}
    if not found:
        names = ", ".join(shown(category["name"]) for category in categories)
        raise ConfigError(
            f"{path}: no category is named {name!r}; they are {names or 'none'}"
        )
    return found


def _box_area(where: str, annotation: dict) -> float:
    box = annotation.get("bbox")
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(map(_is_number, box))
        or not (box[2] >= 0 and box[3] >= 0)
    ):
        raise ConfigError(
            f"{where} has bbox={shown(box)}, and [x, y, width, height] in pixels is "
            "expected"
        )
    return box[2] * box[3]


def _image_area(where: str, image: dict) -> float:
    _require_ids(where, image, "id")
    _require(where, image, "file_name", "width", "height")
    name = image["file_name"]
    if not isinstance(name, str) or NO_PATH.search(name):
        raise ConfigError(
            f"{where} has file_name={shown(name)}, and a path in one line is expected"
        )
    for key in ("width", "height"):
        if not _is_number(image[key]) or image[key] < 1:
            raise ConfigError(
                f"{where} has {key}={shown(image[key])}, and a number of pixels, 1 or "
                "more, is expected"
            )
    return image["width"] * image["height"]


def _require(where: str, entry: Any, *keys: str) -> None:
    for key in keys:
        if not isinstance(entry, dict) or key not in entry:
            raise ConfigError(f"{where} has no {key!r}; {EXPECTED}")


def _require_ids(where: str, entry: Any, *keys: str) -> None:
    _require(where, entry, *keys)
    for key in keys:
        if not isinstance(entry[key], Real | str):
            raise ConfigError(
                f"{where} has {key}={shown(entry[key])}, and a number is expected"
            )


def _is_number(value: Any) -> bool:
    number = isinstance(value, Real) and not isinstance(value, bool)
    return number and -LARGEST <= value <= LARGEST
