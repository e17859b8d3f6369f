"""Whether a class is of MMDetection's data, without importing MMDetection for it.

A class that is has had it imported. A classifier goes without, which saves seconds,
and an environment for classifiers has no MMDetection.
"""

import sys


def is_coco(kind: type) -> bool:
    """Whether a data set is read as MMDetection's `CocoDataset` reads it."""
    if "mmdet" not in sys.modules:
        return False
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.api_wrappers import COCO

    if not issubclass(kind, CocoDataset) or kind.COCOAPI is not COCO:
        return False
    methods = ("load_data_list", "parse_data_info", "filter_data")
    return all(getattr(kind, m) is getattr(CocoDataset, m) for m in methods)


def has_labels_of_heads(kind: type) -> bool:
    """Whether a detector's heads have an output for each class of such a data set.

    Not so of videos, which have people alone labelled, and of panoptic data, of whose
    classes many are background.
    """
    if "mmdet" not in sys.modules:
        return False
    from mmdet.datasets import BaseDetDataset, CocoPanopticDataset

    detection = issubclass(kind, BaseDetDataset)
    return detection and not issubclass(kind, CocoPanopticDataset)


def is_coco_metric(kind: type) -> bool:
    """Whether a metric is MMDetection's `CocoMetric`."""
    if "mmdet" not in sys.modules:
        return False
    from mmdet.evaluation import CocoMetric

    return issubclass(kind, CocoMetric)
