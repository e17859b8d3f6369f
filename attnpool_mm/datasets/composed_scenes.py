"""Scenes for detection, made on the spot: small images on photographs."""

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..utils.checks import check_choice, check_int, check_number, is_int
from ..utils.errors import ConfigError
from .backgrounds import load_backgrounds
from .drawing import draw_cutout, draw_ink, paste, shown
from .small_images import SOURCE_SPLITS, SmallImages, load_small_images

STYLES = {"ink": draw_ink, "cutout": draw_cutout}
MIN_SIZE = 8  # of an object and of an image, in pixels
PLACE_TRIES = 50
# What a source's scenes have where nothing else is said
DEFAULTS = dict(
    image_size=160,
    objects_per_image=(2, 6),
    object_size=(12, 150),
    max_occlusion=0.3,
    background="photos",
    shared_background=False,
    seed=0,
)
DIGITS_DEFAULTS = dict(
    DEFAULTS,
    image_size=128,
    objects_per_image=(1, 5),
    object_size=(20, 48),
    max_occlusion=0.0,
    shared_background=True,
)


class Scene(NamedTuple):
    """One composed image.

    Attributes:
        image: The image with its objects, uint8 RGB of shape (size, size, 3).
        background: The same without objects. They differ inside the boxes only.
        annotations: One dict an object, from the lowest to the one on top: ``bbox``
            ([x, y, width, height] in pixels, of all of the object, what is hidden
            too), ``category_id`` (the label + 1) and ``<noun>_index`` (its index in
            the source: ``digit_index``, ``item_index``, ``object_index``).
    """

    image: np.ndarray
    background: np.ndarray
    annotations: list[dict]


class ComposedScenes:
    """Composes the small images of one split on crops of pictures.

    Objects differ in size and place, and grey ones in colour. An image depends on the
    arguments and on its number only, not on the images made before it.

    Args:
        objects (SmallImages): The small images, of the same split.
        split (str): ``'train'`` or ``'val'``.
        image_size (int): Side of the square images, in pixels.
        objects_per_image (tuple[int, int]): Fewest and most objects of an image. There
            can be fewer where no free place is found, but always one.
        object_size (tuple[int, int]): Smallest and largest object, in pixels, all sizes
            being as frequent: the longer side of a cutout; of ink, the side of the
            square that it is drawn in, of which strokes fill about four fifths.
        max_occlusion (float): The share of an object's box, 0 to 1, that the boxes of
            later objects may cover. Default: 0.0.
        background (str | Path): What is behind: see
            :func:`~attnpool_mm.datasets.load_backgrounds`. Default: 'photos'.
        shared_background (bool): Whether both splits crop the same pictures. Else no
            pixel of one is in the other. Default: False.
        seed (int): Another seed gives other images. Default: 0.

    Raises:
        ConfigError: If an argument is outside of what is accepted.

    Example:
        >>> scenes = scenes_of('digits', 'val', seed=1)
        >>> scenes.compose(0).image.shape
        (128, 128, 3)
    """

    def __init__(
        self,
        objects: SmallImages,
        split: str,
        image_size: int,
        objects_per_image: tuple[int, int],
        object_size: tuple[int, int],
        max_occlusion: float = 0.0,
        background: str | Path = "photos",
        shared_background: bool = False,
        seed: int = 0,
    ):
        check_choice("split", split, tuple(SOURCE_SPLITS))
        check_int("image_size", image_size, MIN_SIZE)
        _check_range("objects_per_image", objects_per_image, 1)
        _check_range("object_size", object_size, MIN_SIZE, image_size)
        check_number("max_occlusion", max_occlusion, minimum=0, below=1)
        check_int("seed", seed, 0)
        _check_objects(objects)
        self.objects = objects
        self.split = split
        self.image_size = image_size
        self.objects_per_image = objects_per_image
        self.object_size = object_size
        self.max_occlusion = max_occlusion
        self.background = background
        self._draw = STYLES[objects.style]
        self._seed = (seed, list(SOURCE_SPLITS).index(split))
        self._pictures = load_backgrounds(background, split, shared_background, seed)

    def compose(self, number: int) -> Scene:
        """Image ``number`` (from 0) of this seed and split."""
        rng = np.random.default_rng([*self._seed, number])
        background = self._crop(rng)
        image = background.copy()
        objects = self.objects
        annotations: list[dict] = []
        covered: list[int] = []
        for _ in range(rng.integers(*self.objects_per_image, endpoint=True)):
            pick = rng.integers(len(objects.labels))
            size = rng.integers(*self.object_size, endpoint=True)
            sprite = self._draw(objects.images[pick], int(size))
            boxes = [annotation["bbox"] for annotation in annotations]
            box = self._place(sprite.alpha.shape, boxes, covered, rng)
            if box is None:
                continue
            x, y, width, height = box
            paste(image[y : y + height, x : x + width], sprite, rng)
            annotations.append(
                {
                    "bbox": box,
                    "category_id": int(objects.labels[pick]) + 1,
                    f"{objects.noun}_index": int(objects.indices[pick]),
                }
            )
        return Scene(image, background, annotations)

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        picture = self._pictures[rng.integers(len(self._pictures))]
        short = min(picture.shape[:2])
        side = rng.integers(short // 3, short, endpoint=True)
        y, x = (rng.integers(length - side + 1) for length in picture.shape[:2])
        crop = picture[y : y + side, x : x + side]
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        shrinks = side > self.image_size
        return cv2.resize(
            crop,
            (self.image_size, self.image_size),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )

    def _place(
        self,
        shape: tuple[int, int],
        boxes: list[list[int]],
        covered: list[int],
        rng: np.random.Generator,
    ) -> list[int] | None:
        """A box where no other is covered too much, and note what it covers."""
        height, width = shape
        for _ in range(PLACE_TRIES):
            x = int(rng.integers(self.image_size - width, endpoint=True))
            y = int(rng.integers(self.image_size - height, endpoint=True))
            box = [x, y, width, height]
            after = [c + _overlap(box, b) for c, b in zip(covered, boxes, strict=True)]
            limits = [self.max_occlusion * w * h for _, _, w, h in boxes]
            if all(c <= limit for c, limit in zip(after, limits, strict=True)):
                covered[:] = [*after, 0]
                return box
        return None


def scenes_of(
    source: str, split: str, data_root: str | Path | None = None, **settings: Any
) -> ComposedScenes:
    """The scenes of a source, with its usual settings.

    They are 160×160 pixels with 2 to 6 objects of 12 to 150 pixels, a third of one
    hidden at most, on parts of photographs that the splits do not share; of
    ``'digits'`` 128×128 with 1 to 5 digits of 20 to 48 pixels, none hidden, on the
    same two photographs in both splits.

    Args:
        source (str): See :func:`~attnpool_mm.datasets.load_small_images`, as for the
            next two.
        split (str): ``'train'`` or ``'val'``.
        data_root (str | Path | None): The folder of the source. Default: None.
        **settings (Any): Other arguments of :class:`ComposedScenes`.

    Raises:
        ConfigError: If an argument is outside of what is accepted.
        ImportError: If scikit-learn is needed and not installed.
    """
    defaults = DIGITS_DEFAULTS if source == "digits" else DEFAULTS
    objects = load_small_images(source, split, data_root)
    return ComposedScenes(objects, split, **{**defaults, **settings})


def _overlap(box: list[int], other: list[int]) -> int:
    """The pixels that two boxes have in common."""
    (x, y, w, h), (left, top, width, height) = box, other
    across = min(x + w, left + width) - max(x, left)
    down = min(y + h, top + height) - max(y, top)
    return max(0, across) * max(0, down)


def _check_objects(objects: SmallImages) -> None:
    for index, image in zip(objects.indices, objects.images, strict=True):
        if not shown(image).any():
            raise ConfigError(
                f"{objects.title}: nothing shows in image {index}, which is black or "
                "clear"
            )


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
