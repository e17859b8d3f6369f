"""STL-10: 96x96 colour photographs of ten classes, most of them without a label."""

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import barrier, is_main_process
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.utils import check_md5, download_and_extract_archive

from ..registry import DATASETS
from ..utils.checks import check_bool, check_choice, is_int
from ..utils.errors import ConfigError

URL = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
ARCHIVE_MD5 = "91f7769df0f17e558f3565bffb0c7dfb"
FOLDER = "stl10_binary"  # what the archive holds
FOLD_FILE = "fold_indices.txt"
FILE_MD5 = {
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
    "unlabeled_X.bin": "5242ba1fed5e4be9e1e742405eb56ca4",
}
NUM_IMAGES = {"train": 5000, "test": 8000, "unlabeled": 100_000}
NUM_FOLDS = 10
FOLD_SIZE = 1000
IMAGE_SHAPE = (3, 96, 96)  # as in the files: channel (RGB), column, row
IMAGE_BYTES = 3 * 96 * 96
CLASSES = (
    "airplane",
    "bird",
    "car",
    "cat",
    "deer",
    "dog",
    "horse",
    "monkey",
    "ship",
    "truck",
)
CHECKS = ("format", "size", "md5")


@DATASETS.register_module()
class STL10(BaseDataset):
    """STL-10 for MMPretrain's classifiers, out of its own binary files.

    Every sample has an ``img``, uint8 of shape (96, 96, 3), and, except in the
    unlabeled split, a ``gt_label`` from 0 to 9. The channels are B, G, R, as
    of an image that is loaded from a file (MMPretrain's ``CIFAR10`` has R, G, B), so
    that the data preprocessor's ``to_rgb=True`` is right for photographs too.

    An image is read from the disk when it is asked for, so that the 2.8 GB of the
    unlabeled split are neither held in memory nor copied to the loader's workers.
    Both labeled and unlabeled images: MMEngine's ``ConcatDataset``.

    Source: Coates, Ng, Lee, "An Analysis of Single-Layer Networks in Unsupervised
    Feature Learning", AISTATS 2011.

    Args:
        data_root (str): The folder that holds ``train_X.bin`` and the other files, or
            the one that holds ``stl10_binary/`` with them.
        split (str): ``'train'`` (5,000 images), ``'test'`` (8,000) or ``'unlabeled'``
            (100,000). Default: 'train'.
        fold (int | None): One of the ten predefined folds, 0 to 9, of 1,000 training
            images each, in the order of ``fold_indices.txt``; None is the whole split.
            Default: None.
        check (str): What is asked of the files. ``'size'``: that they have the sizes of
            the official ones. ``'md5'``: their checksums too, which takes seconds
            (``fold_indices.txt`` has no published one). ``'format'``: only that they
            are in the format, with any number of images from one up, for a subset of
            your own. Labels and fold indices are always checked. Default: 'size'.
        download (bool): Whether to download and unpack the archive (2.6 GB) into
            ``data_root`` if a file that the split needs is not there. Default: False.
        metainfo (dict | None): As in MMPretrain's ``BaseDataset``. The classes are
            STL-10's by default.
        **kwargs (Any): Other arguments of MMPretrain's ``BaseDataset``, such as
            ``pipeline`` and ``indices``.

    Raises:
        ConfigError: If an argument is outside of what is accepted, or a file is
            absent, incomplete or not what ``check`` asks for.

    Example:
        >>> import numpy as np
        >>> for name, data in dict(X=np.zeros((2, 3, 96, 96)), y=[1, 10]).items():
        ...     np.uint8(data).tofile(f'train_{name}.bin')
        >>> dataset = STL10('.', split='train', check='format')
        >>> dataset[1]['img'].shape, dataset[1]['gt_label']
        ((96, 96, 3), 9)
    """

    METAINFO = {"classes": CLASSES}

    def __init__(
        self,
        data_root: str,
        split: str = "train",
        fold: int | None = None,
        check: str = "size",
        download: bool = False,
        metainfo: dict | None = None,
        **kwargs: Any,
    ):
        check_choice("split", split, tuple(NUM_IMAGES))
        check_choice("check", check, CHECKS)
        if fold is not None:
            if not is_int(fold) or not 0 <= fold < NUM_FOLDS:
                raise ConfigError(
                    f"fold={fold!r}: an integer from 0 to {NUM_FOLDS - 1}, or None, "
                    "is accepted"
                )
            if split != "train":
                raise ConfigError(
                    f"fold={fold!r}: the folds are of split='train', and split is "
                    f"{split!r}"
                )
        if not data_root:
            raise ConfigError(
                f"data_root={data_root!r}: the folder that holds {FOLDER}/, or its "
                "files, is accepted"
            )
        self.split = split
        self.fold = fold
        self.check = check
        self.download = check_bool("download", download)
        super().__init__(
            ann_file="",
            metainfo=metainfo,
            data_root=str(Path(data_root).expanduser()),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """The place in the file, and the label, of every sample."""
        names = [f"{self.split}_X.bin"]
        if self.split != "unlabeled":
            names.append(f"{self.split}_y.bin")
        if self.fold is not None:
            names.append(FOLD_FILE)
        if self.download:
            self._download(names)
        folder = self._folder()
        for name in names:
            if not (folder / name).is_file():
                raise ConfigError(
                    f"data_root={self.data_root!r}: there is no {folder / name}; say "
                    f"where the files of STL-10 are, or download=True fetches {URL}"
                )
        self._image_file = folder / names[0]
        count = self._count_images()
        labels = None
        if self.split != "unlabeled":
            labels = _read_labels(folder / names[1], count)
        if self.check == "md5":
            for name in names:
                _check_md5(folder / name)
        indices = range(count) if self.fold is None else self._read_fold(folder, count)
        if labels is None:
            return [{"image_index": index} for index in indices]
        return [
            {"image_index": index, "gt_label": int(labels[index])} for index in indices
        ]

    def get_data_info(self, idx: int) -> dict:
        """The sample before the pipeline, with its image.

        Args:
            idx (int): Its index in this data set.

        Returns:
            ``img``, ``gt_label`` (not of the unlabeled split), ``image_index`` (the
            image's place in the file) and MMEngine's ``sample_idx``.
        """
        info = super().get_data_info(idx)
        data = np.fromfile(
            self._image_file,
            np.uint8,
            IMAGE_BYTES,
            offset=info["image_index"] * IMAGE_BYTES,
        )
        image = data.reshape(IMAGE_SHAPE)[::-1].transpose(2, 1, 0)
        info["img"] = np.ascontiguousarray(image)
        return info

    def extra_repr(self) -> list[str]:
        """What ``repr`` adds to MMPretrain's."""
        fold = "" if self.fold is None else f", fold {self.fold}"
        return [f"Folder: \t{self._folder()}", f"Split: \t{self.split}{fold}"]

    def _folder(self) -> Path:
        inner = Path(self.data_root, FOLDER)
        return inner if inner.is_dir() else Path(self.data_root)

    def _download(self, names: list[str]) -> None:
        if is_main_process():
            folder = self._folder()
            if not all((folder / name).is_file() for name in names):
                download_and_extract_archive(URL, self.data_root, md5=ARCHIVE_MD5)
        barrier()

    def _count_images(self) -> int:
        path, official = self._image_file, NUM_IMAGES[self.split]
        size = path.stat().st_size
        count, rest = divmod(size, IMAGE_BYTES)
        if self.check != "format" and size != official * IMAGE_BYTES:
            raise ConfigError(
                f"{path}: it has {size} bytes, and {official * IMAGE_BYTES} are "
                f"expected, {official} images of {IMAGE_BYTES}; unpack {URL} again, "
                "or accept a subset with check='format'"
            )
        if rest or not count:
            raise ConfigError(
                f"{path}: it has {size} bytes, and a multiple of {IMAGE_BYTES}, the "
                "size of an image, is expected; the file is incomplete or no STL-10"
            )
        return count

    def _read_fold(self, folder: Path, count: int) -> list[int]:
        path = folder / FOLD_FILE
        lines = path.read_text(errors="replace").splitlines()
        if len(lines) != NUM_FOLDS:
            raise ConfigError(
                f"{path}: it has {len(lines)} lines, and {NUM_FOLDS} are expected, "
                "one a fold"
            )
        where = f"{path}, line {self.fold + 1}"
        words = lines[self.fold].split()
        for word in words:
            if not (word.isdecimal() and int(word) < count):
                raise ConfigError(
                    f"{where}: {word!r} is no index into the {count} images of "
                    f"{self._image_file}"
                )
        if not words or (self.check != "format" and len(words) != FOLD_SIZE):
            raise ConfigError(
                f"{where}: it has {len(words)} indices, and {FOLD_SIZE} are expected; "
                f"unpack {URL} again, or accept a subset with check='format'"
            )
        return [int(word) for word in words]


def _read_labels(path: Path, count: int) -> np.ndarray:
    """The labels of `count` images, 0 to 9."""
    size = path.stat().st_size
    if size != count:
        raise ConfigError(
            f"{path}: it has {size} bytes, and {count} are expected, a label of one "
            f"byte for each image; unpack {URL} again"
        )
    labels = np.fromfile(path, np.uint8)
    wrong = np.flatnonzero((labels < 1) | (labels > len(CLASSES)))
    if len(wrong):
        raise ConfigError(
            f"{path}: the label at byte {wrong[0]} is {labels[wrong[0]]}, and 1 to "
            f"{len(CLASSES)} are expected; unpack {URL} again"
        )
    return labels - 1


def _check_md5(path: Path) -> None:
    expected = FILE_MD5.get(path.name)
    if expected is not None and not check_md5(str(path), expected):
        raise ConfigError(
            f"{path}: its MD5 checksum is not {expected}, that of the official file; "
            f"unpack {URL} again"
        )
