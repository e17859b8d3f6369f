"""What is in the data sets of a config, checked before a model is built."""

import math
import os
from collections import defaultdict
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS
from mmpretrain.datasets import BaseDataset

from ..utils.config import datasets_of, registered_class, type_name
from ..utils.errors import ConfigError
from .class_names import (
    check_coco_classes,
    check_label_order,
    check_mixed_labels,
    class_counts,
    class_names,
    listed,
)
from .coco_boxes import count_boxes
from .coco_file import CocoFile, check_annotations, read_coco
from .detection_kinds import has_labels_of_heads, is_coco, is_coco_metric
from .images import check_images, image_reader
from .labels import check_labels, read_samples
from .preflight import downloads, has_scheme, is_remote


def check_contents(
    cfg: Config, which: Sequence[str] = ("train", "val"), every_image: bool = False
) -> list[str]:
    """Check the annotations, classes and images of the data sets of a config.

    Data sets of COCO's format are read from their json, MMPretrain's are built. Of
    others, and of data that are remote or downloaded, the classes are compared with
    the model's heads, no more. `check_data_paths` goes before.

    Args:
        cfg (Config): The whole config.
        which (Sequence[str]): The loaders to check, of `train`, `val` and `test`.
            Default: ('train', 'val').
        every_image (bool): Whether to open each image, with a progress bar, and not a
            sample. Default: False.

    Returns:
        Warnings, a line each: what MMDetection leaves out, and what looks wrong.

    Raises:
        ConfigError: The data cannot be used, or do not fit the model.
    """
    check = _Contents(cfg, every_image)
    check_mixed_labels(cfg, check.heads)
    for name in which:
        loader = cfg.get(f"{name}_dataloader") or {}
        key = f"{name}_dataloader.dataset"
        for inner, dataset in datasets_of(loader.get("dataset"), key):
            size = check.dataset(name, inner, dataset)
            if name == "train" and inner == key:  # no wrapper changes the number
                _check_drop_last(loader, size)
    for named in check.labels.values():
        check_label_order(named)
    return list(dict.fromkeys(check.warnings))


class _Contents:
    """The checks of the data sets of one config; each file is read once."""

    def __init__(self, cfg: Config, every_image: bool):
        self.cfg = cfg
        self.scope = cfg.get("default_scope")
        self.every_image = every_image
        self.heads = list(class_counts(cfg.get("model"), self.scope))
        self.files: dict[str, CocoFile] = {}
        self.warnings: list[str] = []
        self.labels = defaultdict[type | str, list[tuple[str, Sequence[str]]]](list)

    def dataset(self, split: str, key: str, dataset: dict) -> int | None:
        """Check one data set; return the number of its images, if that is known."""
        kind = registered_class(dataset.get("type"), DATASETS, self.scope)
        if kind is None:  # which MMEngine says
            return None
        classes = class_names(key, dataset, kind)
        local = _is_local(dataset)
        ann_file = dataset.get("ann_file")
        if local and is_coco(kind) and ann_file and isinstance(ann_file, str):
            path = os.path.join(dataset.get("data_root") or "", ann_file)
            return self._coco_dataset(split, key, dataset, path, classes)
        files = dataset.get("download", downloads(kind))
        if local and issubclass(kind, BaseDataset) and self.heads and not files:
            return self._classification(split, key, dataset, kind)
        counted = self.scope != "mmdet" or has_labels_of_heads(kind)
        if classes is not None and counted and not dataset.get("return_classes"):
            self._check_count(key, len(classes))
        return None

    def _check_count(self, key: str, count: int) -> None:
        """Compare a number of classes with the heads'.

        A detector has as many. A classifier may have more outputs than are used.
        """
        detector = self.scope == "mmdet"
        for head, number in self.heads:
            if count > number or (detector and count != number):
                raise ConfigError(
                    f"{head}={number}, and {key} has {count} classes: {head}={count} "
                    "is accepted"
                )
            if count < number:
                self.warnings.append(
                    f"{head}={number}, and {key} has {count} classes: the others are "
                    "never trained"
                )

    def _read(self, key: str, path: str) -> CocoFile:
        if path not in self.files:
            self.files[path] = read_coco(key, path)
        return self.files[path]

    def _coco_dataset(
        self, split: str, key: str, dataset: dict, path: str, classes: tuple[str, ...]
    ) -> int:
        ann_key = f"{key}.ann_file"
        prefix = dataset.get("data_prefix")
        if not isinstance(prefix, dict) or not isinstance(prefix.get("img"), str):
            raise ConfigError(
                f"{key}.data_prefix={prefix!r}: dict(img=FOLDER) is accepted, the "
                "folder of the images below data_root"
            )
        coco = self._read(ann_key, path)
        check_coco_classes(key, classes, coco)
        if not dataset.get("return_classes"):
            self._check_count(key, len(classes))
        names = coco.label_names(classes)
        if names != list(classes):
            self.warnings.append(
                f"{key}.metainfo.classes: MMDetection numbers them in the order of "
                f"{path}, {listed(names)}; in another order the names in pictures are "
                "wrong"
            )
        self.labels["COCO"].append((ann_key, names))
        check_annotations(ann_key, coco, ("bbox", "area"))
        training = not dataset.get("test_mode", False)
        filter_cfg = dataset.get("filter_cfg") if training else None
        boxes = count_boxes(ann_key, coco, classes, filter_cfg, dataset.get("indices"))
        if boxes.left_out:
            parts = [f"{number} {reason}" for reason, number in boxes.left_out.items()]
            self.warnings.append(
                f"{ann_key}={path!r}: {sum(boxes.left_out.values())} of "
                f"{len(coco.annotations)} boxes are left out, as MMDetection does: "
                f"{', '.join(parts)}"
            )
        metrics = self._metrics(split)
        needed = split == "train" or any(map(_needs_annotations, metrics.values()))
        if not boxes.count and needed:
            error = _no_box(split, ann_key, coco, boxes.left_out)
            if split != "train" or ".datasets." not in key:
                raise error
            self.warnings.append(str(error))  # images of the background, perhaps
        for metric_key, metric in metrics.items():
            kind = registered_class(metric.get("type"), METRICS, self.scope)
            if kind is not None and is_coco_metric(kind):
                self._coco_metric(metric_key, metric, ann_key, boxes.images, classes)
        folder = os.path.join(dataset.get("data_root") or "", prefix["img"])
        files = [coco.images[i]["file_name"] for i in boxes.images]
        self._images(f"{key}.data_prefix.img", dataset, folder, files)
        return len(boxes.images)

    def _metrics(self, split: str) -> dict[str, dict]:
        """The evaluator's metrics by their keys; none of the training set."""
        key = f"{split}_evaluator"
        metrics = self.cfg.get(key) if split != "train" else None
        if isinstance(metrics, dict):
            return {key: metrics}
        return {f"{key}.{i}": m for i, m in enumerate(metrics or []) if m}

    def _coco_metric(
        self, key: str, metric: dict, ann_key: str, images: list, classes: tuple
    ) -> None:
        path = metric.get("ann_file")
        if not path or not _is_local(metric):
            return
        coco = self._read(f"{key}.ann_file", path)
        absent = [i for i in images if i not in coco.images]
        if absent:
            raise ConfigError(
                f"{key}.ann_file={path!r}: it has no image of id {absent[0]}, as "
                f"{len(absent)} of the {len(images)} of {ann_key}; the file of the "
                "data set is accepted"
            )
        alone = ".datasets." not in ann_key
        if alone and len(coco.images) > len(images):
            self.warnings.append(
                f"{key}.ann_file={path!r}: {len(coco.images) - len(images)} of its "
                f"{len(coco.images)} images are not in {ann_key}, and count as missed"
            )
        if _needs_annotations(metric):
            check_annotations(f"{key}.ann_file", coco, ("bbox", "area", "iscrowd"))
        names = coco.label_names(classes)
        self.labels["COCO"].append((f"{key}.ann_file", names))

    def _classification(self, split: str, key: str, dataset: dict, kind: type) -> int:
        built = read_samples(key, dataset, kind, self.scope)
        first = built.get_data_info(0)
        metrics = self._metrics(split)
        if "gt_label" in first:
            if built.CLASSES is not None:
                self._check_count(key, len(built.CLASSES))
                self.labels[kind].append((key, built.CLASSES))
            check_labels(key, built, self.heads)
        elif split == "train" or any(map(_needs_annotations, metrics.values())):
            hint = "; to test without labels: test_evaluator=[]"
            raise ConfigError(
                f"{key}: its samples have no labels, and the model has a head for them"
                f"{'' if split == 'train' else hint}"
            )
        if "img_path" in first:
            infos = map(built.get_data_info, range(len(built)))
            if not built.serialize_data:
                infos = built.data_list
            paths = [info["img_path"] for info in infos]
            self._images(f"{key}.data_prefix", dataset, "", paths)
        return len(built)

    def _images(self, key: str, dataset: dict, folder: str, files: list[str]) -> None:
        read = image_reader(dataset.get("pipeline"), self.scope)
        if read is not None:
            paths = [os.path.join(folder, name) for name in files]
            check_images(key, paths, read, self.every_image)


def _is_local(cfg: dict) -> bool:
    """Whether a data set or a metric reads from this machine's disks alone."""
    prefix = cfg.get("data_prefix") or ""
    folders = prefix.values() if isinstance(prefix, dict) else [prefix]
    paths = [cfg.get("data_root"), cfg.get("ann_file"), *folders]
    return not is_remote(cfg) and not any(map(has_scheme, filter(None, paths)))


def _needs_annotations(metric: dict) -> bool:
    return not metric.get("format_only") and not type_name(metric).startswith("Dump")


def _no_box(
    split: str, key: str, coco: CocoFile, left_out: dict[str, int]
) -> ConfigError:
    all_boxes = len(coco.annotations)
    found = f"{all_boxes} annotations, of them {sum(left_out.values())} left out"
    if split == "train":
        return ConfigError(
            f"{key}={coco.path!r}: no box is left to train on ({found}, the others "
            "crowds, of other classes, or on images that filter_cfg or indices drop)"
        )
    return ConfigError(
        f"{key}={coco.path!r}: no box is there to evaluate with ({found}); to test "
        f"without annotations: {split}_evaluator=[], or {split}_evaluator=dict("
        "type='CocoMetric', format_only=True, outfile_prefix='FILE'), which writes the "
        "boxes that are found"
    )


def _check_drop_last(loader: dict, size: int | None) -> None:
    """An epoch of no batch would train nothing, and say nothing."""
    processes = int(os.environ.get("WORLD_SIZE", 1))
    batch = loader.get("batch_size")
    if not loader.get("drop_last") or size is None or not isinstance(batch, int):
        return
    if math.ceil(size / processes) < batch:
        raise ConfigError(
            f"train_dataloader.batch_size={batch}: more than the {size} images for "
            f"{processes} process(es), and drop_last leaves out what is less than a "
            "batch"
        )
