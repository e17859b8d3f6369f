"""A classifier's test images, and what it answers to them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, DefaultScope
from torch import Tensor, nn

from ..utils.checks import check_int
from ..utils.config import datasets_of, images_are_rgb, one_line_build
from ..utils.errors import ConfigError


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
        cfg (Config): A whole config of MMPretrain's kind.
        count (int | None): How many, spread evenly over the data set. Default: all.

    Raises:
        ConfigError: As in `check_classifier`, or there are fewer images than `count`.
    """

    __test__ = False  # no test class

    def __init__(self, cfg: Config, count: int | None = None):
        check_classifier(cfg)
        loader = cfg.test_dataloader
        ((_, dataset),) = datasets_of(loader.dataset, "")
        named = one_line_build("test_dataloader.dataset")
        with DefaultScope.overwrite_default_scope("mmpretrain"), named:
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
            change (Callable[[np.ndarray, int], np.ndarray] | None): Gives from an image
                as in `images()`, and its number there, the one in its place. Default:
                none is changed.
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
        model (nn.Module): MMPretrain's classifier; it is left in the mode that it was
            in.
        samples (Iterable[dict]): Of a test pipeline.
        batch_size (int): How many at once.

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
        model (nn.Module): As in `predict`.
        samples (Iterable[dict]): As in `predict`.
        batch_size (int): As in `predict`.
    """
    predicted, right = predict(model, samples, batch_size)
    return 100 * (predicted == right).double().mean().item()
