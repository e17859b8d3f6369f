"""scikit-learn's handwritten digits: 1,797 images that need no download."""

from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset

from ..registry import DATASETS
from ..utils.checks import check_choice

SPLITS = ("train", "test")
NUM_CLASSES = 10


def split_indices(split: str) -> np.ndarray:
    """Which of scikit-learn's digits belong to a split.

    Ordered by class, every fifth digit is for the test: 360 of 1,797, and 35 to 37
    of each class. (Every fifth in scikit-learn's own order would not be balanced:
    long runs of it count from 0 to 9.) The writers are not told apart: the same
    people wrote digits of both splits.

    Args:
        split (str): ``'train'`` or ``'test'``.

    Returns:
        Ascending indices into ``sklearn.datasets.load_digits()``, shape (N,).

    Raises:
        ConfigError: If ``split`` is something else.
        ImportError: If scikit-learn is not installed.
    """
    check_choice("split", split, SPLITS)
    labels = _load_digits().target
    test = np.sort(np.argsort(labels, kind="stable")[::5])
    return test if split == "test" else np.setdiff1d(np.arange(len(labels)), test)


def load_digit_images(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The digits of a split, in the order of :func:`split_indices`.

    Args:
        split (str): ``'train'`` (1,437 images) or ``'test'`` (360 images).

    Returns:
        The images, uint8 of shape (N, 8, 8), 0 for paper and 255 for full ink, and
        their labels 0 to 9, int64 of shape (N,).

    Raises:
        ConfigError: If ``split`` is something else.
        ImportError: If scikit-learn is not installed.

    Example:
        >>> images, labels = load_digit_images('test')
        >>> images.shape, labels.shape
        ((360, 8, 8), (360,))
    """
    indices = split_indices(split)
    digits = _load_digits()
    images = np.rint(digits.images[indices] * (255 / 16)).astype(np.uint8)
    return images, digits.target[indices].astype(np.int64)


@DATASETS.register_module()
class Digits(BaseDataset):
    """scikit-learn's handwritten digits for MMPretrain's classifiers.

    Every sample has an ``img``, uint8 of shape (8, 8, 3) with three equal channels,
    and a ``gt_label``. Enlarge the images in the pipeline.

    Args:
        split (str): ``'train'`` (1,437 images) or ``'test'`` (360 images). The split is
            fixed: see :func:`split_indices`. Default: 'train'.
        metainfo (dict | None): As in MMPretrain's ``BaseDataset``. The classes are
            ``'0'`` to ``'9'`` by default.
        **kwargs (Any): Other arguments of MMPretrain's ``BaseDataset``, such as
            ``pipeline`` and ``indices``.

    Raises:
        ConfigError: If ``split`` is something else.
        ImportError: If scikit-learn is not installed.

    Example:
        >>> from mmengine.registry import DATASETS
        >>> dataset = DATASETS.build(dict(type='attnpool_mm.Digits', split='test'))
        >>> len(dataset), dataset[0]['img'].shape
        (360, (8, 8, 3))
    """

    METAINFO = {"classes": tuple(str(digit) for digit in range(NUM_CLASSES))}

    def __init__(
        self, split: str = "train", metainfo: dict | None = None, **kwargs: Any
    ):
        check_choice("split", split, SPLITS)
        self.split = split
        super().__init__(ann_file="", metainfo=metainfo, **kwargs)

    def load_data_list(self) -> list[dict]:
        """The ``img`` and ``gt_label`` of every sample."""
        images, labels = load_digit_images(self.split)
        images = np.repeat(images[..., None], 3, axis=-1)
        return [
            {"img": image, "gt_label": int(label)}
            for image, label in zip(images, labels, strict=True)
        ]

    def extra_repr(self) -> list[str]:
        """What ``repr`` adds to MMPretrain's."""
        return [f"Split: \t{self.split}"]


def _load_digits():
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the digits are part of scikit-learn: pip install scikit-learn"
        ) from error
    return load_digits()
