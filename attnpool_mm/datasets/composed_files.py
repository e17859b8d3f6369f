"""Composed scenes as files: a detection data set in COCO's format."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from mmengine.utils import track_iter_progress

from ..utils.atomic_files import write_atomically
from ..utils.checks import check_choice, check_int
from .composed_scenes import ComposedScenes

FORMATS = ("png", "jpg")


def write_composed_coco(
    scenes: ComposedScenes,
    out_dir: str | Path,
    num_images: int,
    file_format: str = "png",
    progress: bool = True,
) -> tuple[Path, list[dict]]:
    """Write one split of a detection data set.

    It writes ``<out_dir>/<split>/000000.png`` and so on and then
    ``<out_dir>/annotations/<split>.json``, over files of the same names. The json
    comes last and at once, and an old one is removed first, so that the json of a
    run that was stopped is absent, never wrong. The same arguments give the same
    bytes (with the same versions of NumPy and OpenCV), and the first images stay
    the same when more are asked for.

    Args:
        scenes (ComposedScenes): What is written.
        out_dir (str | Path): Where to write. Made if it does not exist.
        num_images (int): How many images, at least 1.
        file_format (str): ``'png'``, without loss, or ``'jpg'``, about a quarter of its
            size. Default: 'png'.
        progress (bool): Whether to show a progress bar. Default: True.

    Returns:
        The path of the json, and its annotations.

    Raises:
        ConfigError: If an argument is outside of what is accepted. Nothing is
            written then.
        OSError: If a file cannot be written.

    Example:
        >>> from attnpool_mm.datasets import scenes_of
        >>> scenes = scenes_of('digits', 'val')
        >>> path, annotations = write_composed_coco(scenes, 'out', 2, progress=False)
        >>> path.as_posix()
        'out/annotations/val.json'
    """
    check_int("num_images", num_images)
    check_choice("file_format", file_format, FORMATS)
    image_dir = Path(out_dir) / scenes.split
    json_path = json_of(out_dir, scenes.split)
    image_dir.mkdir(parents=True, exist_ok=True)
    json_path.parent.mkdir(exist_ok=True)
    json_path.unlink(missing_ok=True)

    images, annotations = [], []
    numbers = range(num_images)
    if progress:
        numbers = track_iter_progress(numbers, file=sys.stdout)
    for number in numbers:
        scene = scenes.compose(number)
        name = f"{number:06d}.{file_format}"
        _write_image(image_dir / name, scene.image)
        images.append(
            {
                "id": number + 1,
                "file_name": name,
                "width": scenes.image_size,
                "height": scenes.image_size,
            }
        )
        for annotation in scene.annotations:
            _, _, width, height = annotation["bbox"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    **annotation,
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [],
                }
            )
    title, classes = scenes.objects.title, scenes.objects.classes
    behind = {"photos": "photographs"}.get(scenes.background, scenes.background)
    coco = {
        "info": {"description": f"{title} on {behind}, {scenes.split}"},
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": label + 1, "name": name} for label, name in enumerate(classes)
        ],
    }
    write_atomically(json_path, json.dumps(coco).encode())
    return json_path, annotations


def json_of(out_dir: str | Path, split: str) -> Path:
    """Where :func:`write_composed_coco` writes the annotations of a split."""
    return Path(out_dir) / "annotations" / f"{split}.json"


def coco_size(area: int) -> str:
    """COCO's word for the size of an object: 'small', 'medium' or 'large'.

    Args:
        area (int): Pixels of its box. Below 32² it is small, from 96² on large.

    Example:
        >>> coco_size(31 * 31), coco_size(40 * 40), coco_size(100 * 100)
        ('small', 'medium', 'large')
    """
    return "small" if area < 32**2 else "medium" if area < 96**2 else "large"


def _write_image(path: Path, image: np.ndarray) -> None:
    _, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    path.write_bytes(data)
