"""The samples of MMPretrain's data sets, and whether the head has their labels."""

from collections.abc import Sequence

import numpy as np
from mmengine.registry import DATASETS
from mmpretrain.datasets import BaseDataset

from ..utils.checks import argument_names
from ..utils.errors import ConfigError


def read_samples(key: str, dataset: dict, kind: type, scope: str | None) -> BaseDataset:
    """Build a data set without its pipeline.

    Args:
        key (str): The key of the data set in the config, for messages.
        dataset (dict): Its config.
        kind (type): Its class.
        scope (str | None): The scope of bare names.

    Raises:
        ConfigError: It cannot read its folder or file, or there is no sample in it.
    """
    options = {**dataset, "pipeline": []}
    if "serialize_data" in argument_names(kind):
        options["serialize_data"] = False  # which takes longer than reading
    try:
        with DATASETS.switch_scope_and_registry(scope) as registry:
            built = registry.build(options)
            built.full_init()
            count = len(built)
    except ConfigError:
        raise
    except Exception as error:  # whatever a data set raises on data that it cannot read
        text = " ".join(str(error).split())
        raise ConfigError(
            f"{key}: {kind.__name__} cannot read its data: "
            f"{text or type(error).__name__}"
        ) from error
    if not count:
        raise ConfigError(f"{key}: {kind.__name__} found no sample in its data")
    return built


def check_labels(
    key: str, dataset: BaseDataset, counts: Sequence[tuple[str, int]]
) -> None:
    """Check that each label of a data set has an output of the head.

    Args:
        key (str): The key of the data set in the config, for messages.
        dataset (BaseDataset): The data set.
        counts (Sequence[tuple[str, int]]): Of each head, the key and the value of its
            `num_classes`.

    Raises:
        ConfigError: A label is negative, or the number of classes or more.
    """
    infos = dataset.data_list
    if dataset.serialize_data:
        infos = map(dataset.get_data_info, range(len(dataset)))
    labels = [info.get("gt_label", 0) for info in infos]
    lows, highs = labels, labels
    if not all(map(np.isscalar, labels)):  # several of each image, or none
        lows = [min(np.atleast_1d(label), default=0) for label in labels]
        highs = [max(np.atleast_1d(label), default=0) for label in labels]
    head, number = min(counts, key=lambda count: count[1])
    for index in (int(np.argmin(lows)), int(np.argmax(highs))):
        if lows[index] < 0 or highs[index] >= number:
            sample = dataset.get_data_info(index).get("img_path", f"sample {index}")
            raise ConfigError(
                f"{key}: label {labels[index]} of {sample}, and {head}={number}: "
                f"labels from 0 to {number - 1} are accepted"
            )
