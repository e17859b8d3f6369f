"""Labelled sets of small images: what composed detection data are made of."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from torchvision.datasets import ImageFolder

from ..utils.checks import check_choice
from ..utils.errors import ConfigError
from .digits import Digits, load_digit_images, split_indices
from .mnist import MNIST, FashionMNIST

SOURCE_SPLITS = {"train": "train", "val": "test"}
FOLDS = 5  # of a folder without a split of its own, the first of 5 is for validation
IDX_SETS = {"mnist": MNIST, "fashion-mnist": FashionMNIST}
SOURCES = ("digits", *IDX_SETS, "folder")


class SmallImages(NamedTuple):
    """One split of a labelled set of small images.

    Attributes:
        images: uint8 arrays of shape (H, W) for grey, (H, W, 3) for RGB or (H, W, 4)
            for RGB and opacity.
        labels: Their classes, int64 of shape (N,).
        indices: Their places in the whole source, or in its split where the source is
            split, int64 of shape (N,).
        classes: The names of the classes.
        title: What the set is called.
        noun: What one image shows.
        style: `'ink'` where grey is the opacity of a stroke, as in handwriting, or
            `'cutout'` where the image shows an opaque thing on black.
    """

    images: list[np.ndarray] | np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    classes: tuple[str, ...]
    title: str
    noun: str
    style: str


def load_small_images(
    source: str, split: str, data_root: str | Path | None = None
) -> SmallImages:
    """Load the training or the validation part of a source.

    The parts have no image in common. `'digits'`: see
    :func:`~attnpool_mm.datasets.split_indices`. `'mnist'` and `'fashion-mnist'`: the
    60,000 training and the 10,000 test images. `'folder'`: `train/` and `val/` of
    the folder where it has both; else, of each class, every fifth image in the order
    of the names is for validation.

    Args:
        source (str): `'digits'` (scikit-learn's), `'mnist'`, `'fashion-mnist'` or
            `'folder'`.
        split (str): `'train'` or `'val'`.
        data_root (str | Path | None): The folder with the idx files, gzipped or not, or
            with the folders of the classes. `'digits'` needs none. Default: None.

    Raises:
        ConfigError: An argument is outside of what is accepted; a file is missing or
            cannot be read; there are fewer than two classes, or those of the splits
            differ.
        ImportError: If scikit-learn is not installed, and digits are asked for.

    Example:
        >>> digits = load_small_images('digits', 'val')
        >>> len(digits.images), digits.images[0].shape, digits.classes[:2]
        (360, (8, 8), ('0', '1'))
    """
    check_choice("source", source, SOURCES)
    check_choice("split", split, tuple(SOURCE_SPLITS))
    if source == "digits":
        return _digits(split)
    if data_root is None:
        raise ConfigError(f"data_root=None: the folder of {source!r} is accepted")
    if source in IDX_SETS:
        return _idx_set(source, split, Path(data_root))
    return _folder(split, Path(data_root))


def _digits(split: str) -> SmallImages:
    images, labels = load_digit_images(SOURCE_SPLITS[split])
    return SmallImages(
        images,
        labels,
        split_indices(SOURCE_SPLITS[split]),
        Digits.METAINFO["classes"],
        "scikit-learn's digits",
        "digit",
        "ink",
    )


def _idx_set(source: str, split: str, root: Path) -> SmallImages:
    dataset = IDX_SETS[source](str(root), SOURCE_SPLITS[split], lazy_init=True)
    samples = dataset.load_data_list()
    return SmallImages(
        [sample["img"] for sample in samples],
        np.array([sample["gt_label"] for sample in samples]),
        np.arange(len(samples)),
        dataset.CLASSES,
        type(dataset).__name__,
        "digit" if source == "mnist" else "item",
        "ink" if source == "mnist" else "cutout",
    )


def _folder(split: str, root: Path) -> SmallImages:
    has_splits = all((root / name).is_dir() for name in SOURCE_SPLITS)
    folders = {name: root / name if has_splits else root for name in SOURCE_SPLITS}
    try:
        parts = {name: ImageFolder(folder) for name, folder in folders.items()}
    except OSError as error:  # no such folder, no class, a class without images
        raise ConfigError(f"data_root={str(root)!r}: {error}") from error
    if alone := set(parts["train"].classes) ^ set(parts["val"].classes):
        raise ConfigError(
            f"{root}: only one of the splits has the class {min(alone)!r}; the same "
            "classes in both are accepted"
        )
    found = parts[split]
    if len(found.classes) < 2:
        raise ConfigError(
            f"{found.root}: {len(found.classes)} class; two sub-folders at least, each "
            "with the images of a class, are accepted"
        )
    labels = np.array(found.targets)
    starts = np.searchsorted(labels, labels)  # where each one's class starts
    indices = np.arange(len(labels))
    if not has_splits:
        held_out = (indices - starts) % FOLDS == 0
        indices = indices[held_out == (split == "val")]
    if not len(indices):
        raise ConfigError(f"{root}: no image is left for the split {split!r}")
    return SmallImages(
        [read_image(found.samples[index][0]) for index in indices],
        labels[indices],
        indices,
        tuple(found.classes),
        root.name,
        "object",
        "cutout",
    )


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file: uint8, grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4).

    Of 16 bits the upper 8 are taken. Images of 8 bits without opacity are turned as
    their EXIF data say.

    Raises:
        ConfigError: It cannot be read.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is not None and image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    elif image is not None and image.shape[2:] != (4,):  # as its EXIF data turn it
        grey = image.ndim == 2 and image.dtype == np.uint8
        flag = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
        image = cv2.imread(str(path), flag)
    if image is None:
        raise ConfigError(f"{path}: it is no image that OpenCV can read")
    if image.ndim == 2:
        return image
    code = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(image, code)
