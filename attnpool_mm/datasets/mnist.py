"""MNIST and Fashion-MNIST out of their own files, packed or not."""

import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import barrier, is_main_process
from mmpretrain.datasets import MNIST as PlainMNIST
from mmpretrain.datasets import FashionMNIST as PlainFashionMNIST
from mmpretrain.datasets.mnist import read_sn3_pascalvincent_tensor

from ..registry import DATASETS
from ..utils.checks import check_bool, check_choice
from ..utils.errors import ConfigError

# What reading raises for a file that is incomplete or of another format
UNREADABLE = (
    AssertionError,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
    zlib.error,
)


@DATASETS.register_module()
class MNIST(PlainMNIST):
    """MMPretrain's `MNIST`, which takes the four `.gz` files as they are.

    Every sample has an `img`, uint8 of shape (28, 28), 0 for the background, and a
    `gt_label` from 0 to 9. Nothing is downloaded unless that is asked for.

    Args:
        data_root (str): The folder that holds the files, `train-images-idx3-ubyte.gz`
            and so on, packed or unpacked; where both are there, the unpacked one is
            read. Default: ''.
        split (str): `'train'` (60,000 images) or `'test'` (10,000). It alone chooses
            the images; in MMPretrain's class `test_mode` does. Default: 'train'.
        download (bool): Whether MMPretrain downloads and unpacks the set into
            `data_root` if a file that the split needs is not there. Default: False.
        **kwargs (Any): Other arguments of MMPretrain's `BaseDataset`, such as
            `metainfo`, `pipeline`, `indices` and `test_mode`.

    Raises:
        ConfigError: An argument is not one of the accepted values, or a file is
            absent, incomplete, or does not fit the other one.

    Example:
        >>> import numpy as np
        >>> def head(kind, *sizes):
        ...     return np.array([kind, *sizes], '>i4').tobytes()
        >>> for name, data in {
        ...     't10k-images-idx3-ubyte': head(0x803, 2, 28, 28) + bytes(2 * 28 * 28),
        ...     't10k-labels-idx1-ubyte': head(0x801, 2) + bytes([7, 2]),
        ... }.items():
        ...     _ = open(name, 'wb').write(data)
        >>> dataset = MNIST('.', split='test')
        >>> dataset[0]['img'].shape, dataset[0]['gt_label']
        ((28, 28), 7)
    """

    # Read by `check_data_paths` too
    HOW_TO_GET = (
        "download=True downloads it, in a config "
        "train_dataloader.dataset.download=True, and so for the other loaders"
    )

    def __init__(
        self,
        data_root: str = "",
        split: str = "train",
        download: bool = False,
        **kwargs: Any,
    ):
        check_choice("split", split, ("train", "test"))
        check_bool("download", download)
        if not data_root:
            raise ConfigError(
                f"data_root={data_root!r}: the folder of the set's files is accepted"
            )
        super().__init__(
            data_root=str(Path(data_root).expanduser()),
            split=split,
            download=download,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """The `img` and `gt_label` of every sample."""
        listed = self.train_list if self.split == "train" else self.test_list
        names = [name for name, _ in listed]
        if self.download:
            if is_main_process() and None in map(self._find, names):
                self._download()
            barrier()
        image_file, label_file = map(self._file, names)
        images = _read(image_file, 3)
        labels = _read(label_file, 1)
        classes = len(self.metainfo["classes"])
        if not len(images):
            raise ConfigError(f"{image_file}: it has no images")
        if len(labels) != len(images):
            raise ConfigError(
                f"{label_file}: it has {len(labels)} labels, and {len(images)} are "
                f"expected, one for each image of {image_file.name}"
            )
        wrong = np.flatnonzero(labels >= classes)
        if len(wrong):
            raise ConfigError(
                f"{label_file}: label {wrong[0]} is {labels[wrong[0]]}, and 0 to "
                f"{classes - 1} are expected"
            )
        return [
            {"img": image, "gt_label": int(label)}
            for image, label in zip(images, labels, strict=True)
        ]

    def extra_repr(self) -> list[str]:
        """What `repr` adds to MMPretrain's."""
        return [*super().extra_repr(), f"Split: \t{self.split}"]

    def _find(self, name: str) -> Path | None:
        """A file, unpacked or as it was downloaded; None if there is neither."""
        packed = Path(self.data_prefix["root"], name)
        paths = (packed.with_suffix(""), packed)
        return next((path for path in paths if path.is_file()), None)

    def _file(self, name: str) -> Path:
        path = self._find(name)
        if path is None:
            raise ConfigError(
                f"data_root={self.data_root!r}: there is no {name}, packed or not; say "
                f"where the files are; {self.HOW_TO_GET}"
            )
        return path


@DATASETS.register_module()
class FashionMNIST(MNIST, PlainFashionMNIST):
    """MMPretrain's `FashionMNIST`, which takes the four `.gz` files as they are.

    Grey pictures of ten kinds of clothes, shoes and bags, light on 0. All else is as
    in :class:`MNIST`.

    Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
    Benchmarking Machine Learning Algorithms", 2017, arXiv 1708.07747. Copyright 2017
    Zalando SE, MIT licence.
    """

    HOW_TO_GET = (
        "apt-get install dataset-fashion-mnist, on Debian, puts it where "
        f"ATTNPOOL_DATA=/usr/share/datasets finds it; {MNIST.HOW_TO_GET}"
    )


def _read(path: Path, dims: int) -> np.ndarray:
    """The array of an idx file of bytes, with as many dimensions."""
    try:
        with warnings.catch_warnings():
            # Nothing writes to the file's bytes.
            warnings.filterwarnings("ignore", message=".*not writable")
            values = read_sn3_pascalvincent_tensor(str(path)).numpy()
    except UNREADABLE as error:
        raise ConfigError(
            f"{path}: it cannot be read as an idx file ({type(error).__name__}: "
            f"{error}); it is incomplete or of another format"
        ) from error
    if values.dtype != np.uint8 or values.ndim != dims:
        raise ConfigError(
            f"{path}: it has values of {values.dtype} in {values.ndim} dimensions, and "
            f"uint8 in {dims} are expected"
        )
    return values
