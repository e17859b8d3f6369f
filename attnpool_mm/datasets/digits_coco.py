"""A small detection data set made on the spot: digits on photographs, as COCO."""

import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.utils import track_iter_progress

from ..utils.checks import check_choice, check_int, is_int
from ..utils.errors import ConfigError
from .digits import NUM_CLASSES, load_digit_images, split_indices

DIGIT_SPLITS = {"train": "train", "val": "test"}
SOURCE_SIZE = 8  # side of scikit-learn's digits, in pixels
MIN_INK = 0.4  # below it a pixel is clear, so that loops stay open
FULL_INK = 0.65  # from it on a pixel is opaque
PLACE_TRIES = 50
COLOUR_TRIES = 30
# OpenCV's 8-bit Lab; shapes are read by lightness more than by hue
LAB_WEIGHTS = np.float32([1, 0.5, 0.5])
MIN_CONTRAST = 70  # distance in weighted Lab


class Scene(NamedTuple):
    """One composed image.

    Attributes:
        image: The image with its digits, uint8 RGB of shape (size, size, 3).
        background: The same without digits. They differ inside the boxes only.
        annotations: One dict a digit: ``bbox`` ([x, y, width, height] in pixels),
            ``category_id`` (the digit + 1) and ``digit_index`` (its index in
            ``sklearn.datasets.load_digits()``).
    """

    image: np.ndarray
    background: np.ndarray
    annotations: list[dict]


class DigitScenes:
    """Composes digits of one split on crops of scikit-learn's two photographs.

    Digits differ in colour, size and place and do not overlap. An image depends on
    the arguments and on its number only, not on the images made before it.

    Args:
        split: ``'train'`` takes the train split of
            :class:`~attnpool_mm.datasets.Digits`, ``'val'`` its test split. Both
            take the same photographs.
        image_size: Side of the square images, in pixels.
        digits_per_image: Fewest and most digits of an image. There can be fewer
            where no free place is found, but always one.
        digit_size: Smallest and largest side, in pixels, of the square that a digit
            is drawn in. Its strokes fill about four fifths of the height.
        seed: Another seed gives other images.

    Raises:
        ConfigError: If an argument is outside of what is accepted.
        ImportError: If scikit-learn is not installed.

    Example:
        >>> scene = DigitScenes('val', seed=1).compose(0)
        >>> scene.image.shape
        (128, 128, 3)
    """

    def __init__(
        self,
        split: str,
        image_size: int = 128,
        digits_per_image: tuple[int, int] = (1, 5),
        digit_size: tuple[int, int] = (20, 48),
        seed: int = 0,
    ):
        check_choice("split", split, tuple(DIGIT_SPLITS))
        check_int("image_size", image_size, SOURCE_SIZE)
        _check_range("digits_per_image", digits_per_image, 1)
        _check_range("digit_size", digit_size, SOURCE_SIZE, image_size)
        check_int("seed", seed, 0)
        self.image_size = image_size
        self.digits_per_image = digits_per_image
        self.digit_size = digit_size
        self._seed = (seed, list(DIGIT_SPLITS).index(split))
        self._images, self._labels = load_digit_images(DIGIT_SPLITS[split])
        self._indices = split_indices(DIGIT_SPLITS[split])
        self._photos = _load_photos()

    def compose(self, number: int) -> Scene:
        """Image ``number`` (from 0) of this seed and split."""
        rng = np.random.default_rng([*self._seed, number])
        background = self._crop_photo(rng)
        image = background.copy()
        annotations: list[dict] = []
        for _ in range(rng.integers(*self.digits_per_image, endpoint=True)):
            pick = rng.integers(len(self._labels))
            size = rng.integers(*self.digit_size, endpoint=True)
            alpha = _digit_alpha(self._images[pick], int(size))
            box = self._find_place(alpha, [a["bbox"] for a in annotations], rng)
            if box is None:
                continue
            x, y, width, height = box
            patch = image[y : y + height, x : x + width]
            colour = _contrasting_colour(patch, rng)
            patch[:] = np.rint(patch + alpha[..., None] * (colour - patch))
            annotations.append(
                {
                    "bbox": box,
                    "category_id": int(self._labels[pick]) + 1,
                    "digit_index": int(self._indices[pick]),
                }
            )
        return Scene(image, background, annotations)

    def _crop_photo(self, rng: np.random.Generator) -> np.ndarray:
        photo = self._photos[rng.integers(len(self._photos))]
        short = min(photo.shape[:2])
        side = rng.integers(short // 3, short, endpoint=True)
        y, x = (rng.integers(length - side + 1) for length in photo.shape[:2])
        crop = photo[y : y + side, x : x + side]
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        shrinks = side > self.image_size
        return cv2.resize(
            crop,
            (self.image_size, self.image_size),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )

    def _find_place(
        self, alpha: np.ndarray, taken: list[list[int]], rng: np.random.Generator
    ) -> list[int] | None:
        height, width = alpha.shape
        for _ in range(PLACE_TRIES):
            x = int(rng.integers(self.image_size - width, endpoint=True))
            y = int(rng.integers(self.image_size - height, endpoint=True))
            if all(
                x + width <= left or left + w <= x or y + height <= top or top + h <= y
                for left, top, w, h in taken
            ):
                return [x, y, width, height]
        return None


def write_digits_coco(
    out_dir: str | Path,
    split: str,
    num_images: int,
    image_size: int = 128,
    digits_per_image: tuple[int, int] = (1, 5),
    digit_size: tuple[int, int] = (20, 48),
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Write one split of the detection data set.

    It writes ``<out_dir>/<split>/000000.png`` and so on and then
    ``<out_dir>/annotations/<split>.json``, over files of the same names. The json
    comes last and at once, and an old one is removed first, so that the json of a
    run that was stopped is absent, never wrong. The same arguments give the same
    bytes (with the same versions of NumPy and OpenCV), and the first images stay
    the same when more are asked for.

    Args:
        out_dir: Where to write. Made if it does not exist.
        split: ``'train'`` or ``'val'``.
        num_images: How many images, at least 1.
        image_size: See :class:`DigitScenes`, as for the next three.
        digits_per_image: Fewest and most digits of an image.
        digit_size: Smallest and largest digit, in pixels.
        seed: Another seed gives other images.
        progress: Whether to show a progress bar.

    Returns:
        The path of the json.

    Raises:
        ConfigError: If an argument is outside of what is accepted. Nothing is
            written then.
        ImportError: If scikit-learn is not installed.
        OSError: If a file cannot be written.

    Example:
        >>> path = write_digits_coco('digits_coco', 'val', 2, progress=False)
        >>> path.as_posix()
        'digits_coco/annotations/val.json'
    """
    check_int("num_images", num_images)
    scenes = DigitScenes(split, image_size, digits_per_image, digit_size, seed)
    image_dir = Path(out_dir) / split
    json_path = Path(out_dir) / "annotations" / f"{split}.json"
    image_dir.mkdir(parents=True, exist_ok=True)
    json_path.parent.mkdir(exist_ok=True)
    json_path.unlink(missing_ok=True)

    images, annotations = [], []
    numbers = range(num_images)
    if progress:
        numbers = track_iter_progress(numbers, file=sys.stdout)
    for number in numbers:
        scene = scenes.compose(number)
        name = f"{number:06d}.png"
        _write_png(image_dir / name, scene.image)
        images.append(
            {
                "id": number + 1,
                "file_name": name,
                "width": image_size,
                "height": image_size,
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
    coco = {
        "info": {"description": f"scikit-learn's digits on photographs, {split}"},
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": digit + 1, "name": str(digit)} for digit in range(NUM_CLASSES)
        ],
    }
    partial = json_path.with_suffix(".json.partial")
    partial.write_text(json.dumps(coco))
    os.replace(partial, json_path)
    return json_path


def _digit_alpha(image: np.ndarray, size: int) -> np.ndarray:
    """The opacity of a digit drawn in a square of side `size`, cut to its ink."""
    # The margin lets strokes that touch the border fade out as the others do.
    ink = cv2.resize(np.pad(image, 1), (size, size), interpolation=cv2.INTER_CUBIC)
    ink = ink.astype(np.float32) / 255
    visible = ink > MIN_INK
    x, y, width, height = cv2.boundingRect(visible.astype(np.uint8))
    alpha = np.where(visible, np.minimum(ink / FULL_INK, 1), 0)
    return alpha[y : y + height, x : x + width]


def _contrasting_colour(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random RGB colour that stands out from nearly every pixel of the patch."""
    colours = rng.integers(256, size=(COLOUR_TRIES, 3), dtype=np.uint8)
    lab = cv2.cvtColor(colours[None], cv2.COLOR_RGB2LAB)[0] * LAB_WEIGHTS
    pixels = cv2.cvtColor(patch, cv2.COLOR_RGB2LAB).reshape(-1, 3) * LAB_WEIGHTS
    distances = np.linalg.norm(lab[:, None] - pixels, axis=-1)
    contrast = np.percentile(distances, 10, axis=1)
    enough = np.flatnonzero(contrast >= MIN_CONTRAST)
    best = enough[0] if len(enough) else np.argmax(contrast)
    return colours[best].astype(np.float32)


def _load_photos() -> list[np.ndarray]:
    from sklearn.datasets import load_sample_images

    return load_sample_images().images


def _write_png(path: Path, image: np.ndarray) -> None:
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    path.write_bytes(data)


def _check_range(
    name: str, value: tuple[int, int], minimum: int, maximum: int | None = None
) -> None:
    pair = isinstance(value, (tuple, list)) and len(value) == 2
    if (
        not pair
        or not all(is_int(bound) for bound in value)
        or not minimum <= value[0] <= value[1]
        or (maximum is not None and value[1] > maximum)
    ):
        limit = "" if maximum is None else f" and of at most image_size={maximum}"
        raise ConfigError(
            f"{name}={value!r}: (min, max), integers of at least "
            f"{minimum}{limit}, with min <= max, are accepted"
        )
