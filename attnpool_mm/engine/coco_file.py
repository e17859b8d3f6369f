"""A json in COCO's format, read and checked as MMDetection and pycocotools use it."""

import gc
import json
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from ..utils.errors import ConfigError

LISTS = ("images", "annotations", "categories")
EXPECTED = (
    "a json of COCO's format is accepted, an object with the lists images, "
    "annotations and categories"
)
MASK_KEY = b'"segmentation":'


@dataclass
class CocoFile:
    """What is in a json of COCO's format.

    Attributes:
        path: The file.
        images: Its images by their ids, in the order of the file.
        annotations: Its boxes; none if the file has no such list.
        categories: The names of its categories by their ids, in the order of the
            file, which is the order of MMDetection's labels.
    """

    path: str
    images: dict[Any, dict]
    annotations: list[dict] = field(default_factory=list)
    categories: dict[Any, str] = field(default_factory=dict)

    def label_names(self, classes: Collection[str]) -> list[str]:
        """The names of the labels 0, 1, …: the chosen classes, as the file has them."""
        return [name for name in self.categories.values() if name in classes]


def read_coco(where: str, path: str) -> CocoFile:
    """Read a json of COCO's format, without its masks.

    Args:
        where (str): The key of the config that names it, for messages.
        path (str): The file.

    Raises:
        ConfigError: It is no such json, or MMDetection would fail on its images,
            categories or ids.

    Example:
        >>> from pathlib import Path
        >>> _ = Path('boxes.json').write_text(json.dumps(dict(
        ...     images=[dict(id=7, file_name='7.jpg', width=20, height=10)],
        ...     annotations=[], categories=[dict(id=1, name='apple')])))
        >>> read_coco('ann_file', 'boxes.json').categories
        {1: 'apple'}
    """
    where = f"{where}={path!r}"
    content = _load(where, path)
    _require(where, "image", content["images"], ("id", "file_name", "width", "height"))
    _require(where, "annotation", content["annotations"], ("id", "image_id"))
    _require(where, "annotation", content["annotations"], ("category_id",))
    _require(where, "category", content["categories"], ("id", "name"))
    if not content["images"]:
        raise ConfigError(f"{where}: it has no image; {EXPECTED}")
    for kind, entries in zip(("image", "annotation", "category"), LISTS, strict=True):
        rows = content["images" if kind == "image" else entries]
        _check_unique(where, kind, [row["id"] for row in rows])
    for index, image in enumerate(content["images"]):
        for key in ("width", "height"):
            if not is_number(image[key]):
                raise ConfigError(
                    f"{where}: {key}={image[key]!r} in image {index} "
                    f"(id {image['id']}); a number of pixels is accepted"
                )
        if not isinstance(image["file_name"], str):
            raise ConfigError(
                f"{where}: file_name={image['file_name']!r} in image {index} "
                f"(id {image['id']}); a path is accepted"
            )
    return CocoFile(
        path,
        {image["id"]: image for image in content["images"]},
        content["annotations"],
        {category["id"]: category["name"] for category in content["categories"]},
    )


def _load(where: str, path: str) -> dict[str, list]:
    collects = gc.isenabled()
    gc.disable()  # which looks through the growing lists again and again
    try:
        with open(os.path.expanduser(path), "rb") as file:
            content = json.loads(_without_polygons(file.read()))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: {error}; {EXPECTED}") from error
    finally:
        if collects:
            gc.enable()
    if not isinstance(content, dict):
        kind = "list" if isinstance(content, list) else type(content).__name__
        raise ConfigError(f"{where}: it is a {kind}; {EXPECTED}")
    content.setdefault("annotations", [])  # as the test split of COCO
    for key in LISTS:
        if not isinstance(content.get(key), list):
            problem = f"its {key} are no list" if key in content else f"it has no {key}"
            raise ConfigError(f"{where}: {problem}; {EXPECTED}")
    return content


def _without_polygons(text: bytes) -> bytes:
    """The json with empty lists for polygons, two thirds of COCO's.

    A polygon has no string and no object in it, so that its last bracket is the last
    before the next quote or brace.
    """
    before, *pieces = text.split(MASK_KEY)
    kept = [before]
    for piece in pieces:
        end = piece.find(b'"')
        end = len(piece) if end < 0 else end
        brace = piece.find(b"}", 0, end)
        bracket = piece.rfind(b"]", 0, end if brace < 0 else brace)
        in_a_string = kept[-1].endswith(b"\\")
        if bracket < 0 or piece[:2].lstrip()[:1] != b"[" or in_a_string:
            kept += [MASK_KEY, piece]
        else:
            kept += [MASK_KEY, b"[]", piece[bracket + 1 :]]
    return b"".join(kept)


def _require(where: str, kind: str, rows: list, keys: Iterable[str]) -> None:
    """Check that each row is a dict that has the keys."""
    for key in keys:
        try:
            for row in rows:
                row[key]
        except (KeyError, TypeError, IndexError):
            index = next(
                i for i, r in enumerate(rows) if not isinstance(r, dict) or key not in r
            )
            row = rows[index]
            number = row.get("id") if isinstance(row, dict) else None
            named = "" if number is None else f" (id {number!r})"
            raise ConfigError(
                f"{where}: {kind} {index}{named} has no {key}; COCO's format needs it"
            ) from None


def _check_unique(where: str, kind: str, ids: list) -> None:
    try:
        seen = set(ids)
    except TypeError as error:
        raise ConfigError(f"{where}: the id of each {kind}: {error}") from error
    if len(seen) < len(ids):
        seen.clear()
        twice = next(i for i in ids if i in seen or seen.add(i))
        raise ConfigError(
            f"{where}: {kind} id {twice!r} is there more than once, {len(ids)} ids for "
            f"{len(set(ids))} of them; ids are expected to be unique"
        )


def check_annotations(where: str, coco: CocoFile, keys: Sequence[str]) -> None:
    """Check that each box has the keys, and those among them that are numbers are.

    Args:
        where (str): The key of the config that names the file, for messages.
        coco (CocoFile): The file.
        keys (Sequence[str]): Of `bbox`, `area` and `iscrowd`, what is used: all of them
            by COCO's evaluator, the first two by MMDetection's training.

    Raises:
        ConfigError: One does not.
    """
    where = f"{where}={coco.path!r}"
    rows = [row for row in coco.annotations if not row.get("ignore")]
    _require(where, "annotation", rows, keys)
    if "bbox" in keys:
        boxes = [row["bbox"] for row in rows]
        if not _are_numbers(boxes, (len(rows), 4)):
            row = next((row for row in rows if not is_box(row["bbox"])), rows[0])
            raise ConfigError(
                f"{where}: bbox={row['bbox']!r} in the annotation with id {row['id']}; "
                "four numbers are accepted: [x, y, width, height] in pixels"
            )
    for key in set(keys) - {"bbox"}:
        if not _are_numbers([row[key] for row in rows], (len(rows),)):
            row = next((r for r in rows if not isinstance(r[key], Real)), rows[0])
            raise ConfigError(
                f"{where}: {key}={row[key]!r} in the annotation with id {row['id']}; "
                "a number is accepted"
            )


def _are_numbers(rows: list, shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape can be made of them, which is fast to say."""
    try:
        array = np.array(rows)
    except ValueError:
        return False
    return not rows or (array.shape == shape and array.dtype.kind in "biuf")


def is_box(box: Any) -> bool:
    """Whether it is a list of four numbers."""
    return isinstance(box, list) and len(box) == 4 and all(map(is_number, box))


def is_number(value: Any) -> bool:
    """Whether it is a number, and no boolean."""
    return isinstance(value, Real) and not isinstance(value, bool)
