import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import Runner
from sklearn.datasets import load_digits

from attnpool_mm.datasets import load_digit_images, split_indices

CONFIG = Path(__file__).parents[2] / "configs/_base_/datasets/digits_bs64.py"
SPLITS = ("train", "test")


@pytest.fixture(scope="module")
def original():
    return load_digits()


def in_scope(scope):
    return DefaultScope.overwrite_default_scope(scope)


def test_splits_are_disjoint_and_complete(original):
    train, test = split_indices("train"), split_indices("test")
    assert len(test) == 360
    assert sorted([*train, *test]) == list(range(len(original.images)))
    # no picture is in both under another index
    pictures = [{x.tobytes() for x in load_digit_images(s)[0]} for s in SPLITS]
    assert not pictures[0] & pictures[1]


@pytest.mark.parametrize("split", SPLITS)
def test_images_and_labels_are_those_of_scikit_learn(split, original):
    images, labels = load_digit_images(split)
    indices = split_indices(split)
    assert images.dtype == np.uint8
    assert images.min() == 0 and images.max() == 255
    np.testing.assert_array_equal(np.rint(images / 255 * 16), original.images[indices])
    np.testing.assert_array_equal(labels, original.target[indices])


def test_every_class_gives_a_fifth_to_the_test(original):
    counts = np.bincount(load_digit_images("test")[1], minlength=10)
    np.testing.assert_allclose(counts, np.bincount(original.target) / 5, atol=1)


@pytest.mark.parametrize("scope", ["mmdet", "mmpretrain"])
@pytest.mark.parametrize("split", SPLITS)
def test_builds_in_any_scope(scope, split):
    with in_scope(scope):
        dataset = DATASETS.build({"type": "attnpool_mm.Digits", "split": split})
        images, labels = load_digit_images(split)
        assert dataset.metainfo["classes"] == tuple("0123456789")
        assert len(dataset) == len(images)
        np.testing.assert_array_equal(dataset.get_gt_labels(), labels)
        sample = dataset[7]
    assert sample["img"].shape == (8, 8, 3) and sample["img"].dtype == np.uint8
    np.testing.assert_array_equal(
        sample["img"], np.stack([images[7]] * 3, axis=-1), strict=True
    )
    assert f"Split: \t{split}" in repr(dataset)


def test_base_dataset_arguments_pass_through():
    dataset = DATASETS.build({"type": "attnpool_mm.Digits", "indices": 12})
    assert len(dataset) == 12
    assert len(set(dataset.get_gt_labels())) > 5  # not ordered by class


@pytest.mark.parametrize("loader", ["train", "val", "test"])
def test_base_config_makes_batches(loader):
    config = Config.fromfile(CONFIG)
    loader_config = config[f"{loader}_dataloader"]
    loader_config.update(num_workers=0, persistent_workers=False)
    with in_scope("mmpretrain"):
        data_loader = Runner.build_dataloader(loader_config, seed=0)
        preprocessor = MODELS.build(
            {"type": "ClsDataPreprocessor", **config.data_preprocessor}
        )
        batch = preprocessor(next(iter(data_loader)))
    split = "train" if loader == "train" else "test"
    assert len(data_loader.dataset) == len(split_indices(split))
    assert batch["inputs"].shape == (64, 3, 32, 32)
    assert batch["inputs"].min() == -1 and batch["inputs"].max() == 1
    labels = [int(sample.gt_label) for sample in batch["data_samples"]]
    first = list(load_digit_images(split)[1][:64])
    assert (labels == first) == (loader != "train")  # only training is shuffled


def test_base_config_evaluator_counts_right_answers():
    config = Config.fromfile(CONFIG)
    with in_scope("mmpretrain"):
        dataset = DATASETS.build(config.val_dataloader.dataset)
        evaluator = Evaluator(config.val_evaluator)
        samples = [dataset[i]["data_samples"] for i in range(10)]
        for i, sample in enumerate(samples):
            guess = (int(sample.gt_label) + (i < 3)) % 10  # three are wrong
            sample.set_pred_score(torch.eye(10)[guess])
        evaluator.process(samples)
        metrics = evaluator.evaluate(len(samples))
    assert metrics["accuracy/top1"] == pytest.approx(70)


@pytest.mark.parametrize("split", ["val", "", None, "Train"])
def test_wrong_split_is_refused(split):
    message = f"split={split!r}"
    with pytest.raises(ValueError, match=message):
        load_digit_images(split)
    with pytest.raises(ValueError, match=message):
        DATASETS.build(
            {"type": "attnpool_mm.Digits", "split": split, "lazy_init": True}
        )


def test_missing_scikit_learn_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="scikit-learn"):
        load_digit_images("train")
