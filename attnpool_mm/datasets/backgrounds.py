"""The pictures that composed images are crops of."""

from pathlib import Path

import cv2
import numpy as np
from mmengine.utils import scandir

from ..utils.checks import check_bool, check_choice
from ..utils.errors import ConfigError
from ..utils.extras import require
from .small_images import SOURCE_SPLITS, read_image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
TRAIN_SHARE = 0.6  # of a picture's longer side
MIN_SIDE = 64  # of a picture, in pixels
NOISE_PICTURES = 8
NOISE_SIZE = (480, 640)


def load_backgrounds(
    background: str | Path,
    split: str,
    shared_background: bool = False,
    seed: int = 0,
) -> list[np.ndarray]:
    """Load the pictures that a split takes its crops of.

    Args:
        background (str | Path): `'photos'` for scikit-learn's two photographs,
            `'noise'` for clouds of random colours, or a folder with pictures.
        split (str): `'train'` or `'val'`.
        shared_background (bool): Whether both splits crop whole pictures. Else each is
            cut in two across its longer side: 60 % for training, the rest for
            validation. Noise is of its own for each split. Default: False.
        seed (int): Of the noise. Default: 0.

    Returns:
        uint8 RGB arrays of shape (H, W, 3).

    Raises:
        ConfigError: An argument is outside of what is accepted; there is no picture,
            or one that cannot be read or is smaller than 64 pixels; scikit-learn is
            not installed, and its photographs are asked for.

    Example:
        >>> [part.shape for part in load_backgrounds('photos', 'train')]
        [(427, 384, 3), (427, 384, 3)]
    """
    check_choice("split", split, tuple(SOURCE_SPLITS))
    check_bool("shared_background", shared_background)
    if background == "noise":
        entropy = np.random.SeedSequence([seed, list(SOURCE_SPLITS).index(split)])
        rng = np.random.default_rng(entropy.spawn(1)[0])
        return [_noise(rng) for _ in range(NOISE_PICTURES)]
    if background == "photos":
        pictures = require("sklearn.datasets", "demo").load_sample_images().images
    else:
        pictures = _pictures_of(Path(background))
    if shared_background:
        return pictures
    return [_part(picture, split) for picture in pictures]


def _noise(rng: np.random.Generator) -> np.ndarray:
    height, width = NOISE_SIZE
    total = np.zeros((height, width, 3), np.float32)
    for step in (160, 40, 10, 2):
        grain = rng.random((height // step, width // step, 3), dtype=np.float32)
        total += cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = total.min(), total.max()
    return np.uint8((total - low) / (high - low) * 255)


def _pictures_of(folder: Path) -> list[np.ndarray]:
    if not folder.is_dir():
        raise ConfigError(
            f"background={str(folder)!r}: 'photos', 'noise' or a folder with pictures "
            "is accepted, and there is no such folder"
        )
    names = sorted(scandir(str(folder), SUFFIXES, case_sensitive=False))
    if not names:
        raise ConfigError(
            f"background={str(folder)!r}: no picture is in it ({', '.join(SUFFIXES)})"
        )
    return [_rgb(folder / name) for name in names]


def _rgb(path: Path) -> np.ndarray:
    picture = read_image(path)
    if picture.ndim == 2:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    if min(picture.shape[:2]) < MIN_SIDE:
        height, width = picture.shape[:2]
        raise ConfigError(
            f"{path}: {width}x{height} pixels; {MIN_SIDE} a side at least are accepted"
        )
    return picture[..., :3]


def _part(picture: np.ndarray, split: str) -> np.ndarray:
    axis = int(np.argmax(picture.shape[:2]))
    border = int(picture.shape[axis] * TRAIN_SHARE)
    train, val = np.split(picture, [border], axis=axis)
    return train if split == "train" else val
