"""How a classifier's answers stand shifts and corruptions of its test images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, DefaultScope
from torch import Tensor, nn

from ..utils.checks import check_int
from ..utils.config import datasets_of, images_are_rgb
from ..utils.errors import ConfigError
from .corruptions import COMMON, corrupt, corrupt_all

SHIFTS = "shift_consistency"
CORRUPTION = "corruption/"


def check_classifier(cfg: Config) -> None:
    """Check that a config is a classifier's, with one set of test images.

    Raises:
        ConfigError: It is a detector's, or has no or several test sets.
    """
    scope = cfg.get("default_scope")
    if scope != "mmpretrain":
        raise ConfigError(
            f"default_scope={scope!r}: robustness is measured of classifiers, "
            "'mmpretrain' is accepted"
        )
    outer = (cfg.get("test_dataloader") or {}).get("dataset")
    found = list(datasets_of(outer, "test_dataloader.dataset"))
    if len(found) != 1:
        raise ConfigError(
            f"test_dataloader has {len(found)} data sets: one is accepted"
        )


class TestImages:
    """A classifier's test images, before its test pipeline and after it.

    Args:
        cfg: A whole config of MMPretrain's kind.
        count: How many, spread evenly over the data set. Default: all.

    Raises:
        ConfigError: As in `check_classifier`, or there are fewer images than `count`.
    """

    __test__ = False  # no test class

    def __init__(self, cfg: Config, count: int | None = None):
        check_classifier(cfg)
        loader = cfg.test_dataloader
        ((_, dataset),) = datasets_of(loader.dataset, "")
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            self.dataset = DATASETS.build(deepcopy(dataset))
        total = len(self.dataset)
        count = total if count is None else check_int("num_images", count)
        if count > total:
            raise ConfigError(f"num_images={count}: {total} images are in the test set")
        self.indices = [i * total // count for i in range(count)]
        self.batch_size = loader.get("batch_size") or 1
        self.rgb = images_are_rgb(cfg)
        steps = self.dataset.pipeline.transforms
        loading = [i for i, s in enumerate(steps) if type(s).__name__[:4] == "Load"]
        start = loading[-1] + 1 if loading else 0
        self._loading, self._steps = steps[:start], steps[start:]

    def images(self) -> list[np.ndarray]:
        """The images as they are read, R, G, B or grey."""
        return [self._turned(result["img"]) for result in self._read()]

    def samples(
        self, change: Callable[[np.ndarray, int], np.ndarray] | None = None
    ) -> Iterator[dict]:
        """What the test pipeline makes of the images, one after the other.

        Args:
            change: Gives from an image as in `images()`, and its number there, the one
                in its place. Default: none is changed.
        """
        for number, result in enumerate(self._read()):
            if change is not None:
                image = change(self._turned(result["img"]), number)
                result["img"] = self._turned(image)
            yield _through(self._steps, result)

    def _read(self) -> Iterator[dict]:
        for index in self.indices:
            yield _through(self._loading, self.dataset.get_data_info(index))

    def _turned(self, image: np.ndarray) -> np.ndarray:
        if image.ndim < 3 or self.rgb:
            return image
        return np.ascontiguousarray(image[..., ::-1])


def _through(steps: Sequence[Callable], result: dict) -> dict:
    for step in steps:
        result = step(result)
    return result


@torch.no_grad()
def predict(
    model: nn.Module, samples: Iterable[dict], batch_size: int
) -> tuple[Tensor, Tensor]:
    """The classes that a network predicts in evaluation, and the right ones.

    Args:
        model: MMPretrain's classifier; it is left in the mode that it was in.
        samples: Of a test pipeline.
        batch_size: How many at once.

    Returns:
        Two of shape (N,), on the CPU.

    Raises:
        ConfigError: The samples are of no or more than one class each.
    """
    training = model.training
    model.eval()
    answers: list[Any] = []
    samples = iter(samples)
    while batch := list(islice(samples, batch_size)):
        answers += model.test_step(pseudo_collate(batch))
    model.train(training)
    for answer in answers[:1]:
        labels = [answer.get("pred_label"), answer.get("gt_label")]
        if any(label is None or label.numel() != 1 for label in labels):
            raise ConfigError("model: a classifier with one class an image is expected")
    predicted = [int(answer.pred_label) for answer in answers]
    right = [int(answer.gt_label) for answer in answers]
    return torch.tensor(predicted), torch.tensor(right)


def accuracy(model: nn.Module, samples: Iterable[dict], batch_size: int) -> float:
    """The share of images that are classified rightly, in percent.

    Args:
        model: As in `predict`.
        samples: As in `predict`.
        batch_size: As in `predict`.
    """
    predicted, right = predict(model, samples, batch_size)
    return 100 * (predicted == right).double().mean().item()


def check_max_shift(max_shift: int, image: Tensor) -> None:
    """Check that every shift leaves a part of an image.

    Where all of it is gone, every network is consistent.

    Args:
        max_shift: As in `shift_consistency`.
        image: (..., H, W).

    Raises:
        ConfigError: It is not positive, or not smaller than the image.
    """
    check_int("max_shift", max_shift)
    side = min(image.shape[-2:])
    if max_shift >= side:
        raise ConfigError(
            f"max_shift={max_shift}: less than the image's side, {side} pixels, is "
            "accepted"
        )


def shift(image: Tensor, down: int, right: int, circular: bool = False) -> Tensor:
    """An image moved by whole pixels.

    Args:
        image: (..., H, W).
        down: Rows, upwards if negative.
        right: Columns, to the left if negative.
        circular: Whether what leaves on one side comes in on the other. Default: what
            comes in is 0.

    Example:
        >>> shift(torch.tensor([[1, 2], [3, 4]]), 0, 1)
        tensor([[0, 1],
                [0, 3]])
    """
    moved = image.roll((down, right), (-2, -1))
    if not circular:
        for dim, by in ((-2, down), (-1, right)):
            by = max(-image.shape[dim], min(by, image.shape[dim]))
            start = 0 if by > 0 else image.shape[dim] + by
            moved.narrow(dim, start, abs(by)).zero_()
    return moved


def shift_consistency(
    model: nn.Module,
    samples: Callable[[], Iterable[dict]],
    batch_size: int,
    max_shift: int = 4,
    seed: int = 0,
    circular: bool = False,
) -> float:
    """The share of images with the same predicted class at two random shifts.

    Down and to the right, each of the two shifts is drawn uniformly from -max_shift to
    max_shift pixels, for every image anew and for every network alike. The images are
    moved as they come out of the test pipeline, before they are normalised; what comes
    in is black. Whether the class is the right one plays no part.

    Args:
        model: As in `predict`.
        samples: Makes the samples, with `inputs` of shape (C, H, W).
        batch_size: As in `predict`.
        max_shift: In pixels, at least 1.
        seed: Of the shifts.
        circular: As in `shift`.

    Returns:
        Percent. 100 is what a network reaches whose answer a shift cannot change.

    Raises:
        ConfigError: As in `check_max_shift`, unless circular.

    Source:
        Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019, arXiv
        1904.11486, which cuts both out of one larger photograph on ImageNet, and
        shifts circularly on CIFAR-10.
    """
    check_int("max_shift", max_shift)

    def moved(which: int) -> Iterator[dict]:
        for index, sample in enumerate(samples()):
            if not circular:
                check_max_shift(max_shift, sample["inputs"])
            drawn = np.random.default_rng((seed, index))
            shifts = drawn.integers(-max_shift, max_shift + 1, (2, 2)).tolist()
            image = shift(sample["inputs"], *shifts[which], circular)
            yield {**sample, "inputs": image}

    first, second = (predict(model, moved(i), batch_size)[0] for i in range(2))
    return 100 * (first == second).double().mean().item()


def corrupted_accuracy(
    model: nn.Module,
    images: TestImages,
    name: str,
    severity: int,
    seed: int = 0,
    cache: str | Path | None = None,
) -> float:
    """The accuracy on images that are corrupted as soon as they are read, in percent.

    Args:
        model: As in `predict`.
        images: The test images.
        name: As in `corrupt`.
        severity: As in `corrupt`.
        seed: As in `corrupt_all`.
        cache: As in `corrupt_all`; the images are in memory all at once then. Default:
            they are corrupted one after the other, and none is kept.
    """
    if cache is None:

        def change(image: np.ndarray, number: int) -> np.ndarray:
            return corrupt(image, name, severity, (seed, number))

    else:
        made = corrupt_all(images.images(), name, severity, seed, cache=cache)

        def change(image: np.ndarray, number: int) -> np.ndarray:
            return made[number]

    return accuracy(model, images.samples(change), images.batch_size)


def measure_robustness(
    model: nn.Module,
    images: TestImages,
    max_shift: int = 4,
    corruptions: Sequence[str] = COMMON,
    severity: int = 3,
    seed: int = 0,
    cache: str | Path | None = None,
) -> dict[str, float]:
    """Shift consistency and the accuracy under each corruption.

    Args:
        model: As in `predict`.
        images: The test images.
        max_shift: As in `shift_consistency`.
        corruptions: Names of `corruptions.COMMON` and `EXTRA`.
        severity: 1 to 5.
        seed: Of the shifts and the corruptions.
        cache: As in `corrupted_accuracy`.

    Returns:
        In percent `shift_consistency`, `corruption/NAME` of each, and their mean
        `corruption/mean`, if there is one.
    """
    consistency = shift_consistency(
        model, images.samples, images.batch_size, max_shift, seed
    )
    values = {
        CORRUPTION + name: corrupted_accuracy(
            model, images, name, severity, seed, cache
        )
        for name in corruptions
    }
    if values:
        values[f"{CORRUPTION}mean"] = sum(values.values()) / len(values)
    return {SHIFTS: consistency, **values}
