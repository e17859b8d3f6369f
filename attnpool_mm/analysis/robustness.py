"""How a classifier's answers stand shifts and corruptions of its test images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from ..utils.checks import check_int
from ..utils.errors import ConfigError
from .corruptions import COMMON, corrupt, corrupt_all
from .predictions import TestImages, accuracy, predict

SHIFTS = "shift_consistency"
CORRUPTION = "corruption/"


def check_max_shift(max_shift: int, image: Tensor) -> None:
    """Check that every shift leaves a part of an image.

    Where all of it is gone, every network is consistent.

    Args:
        max_shift (int): As in `shift_consistency`.
        image (Tensor): (..., H, W).

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
        image (Tensor): (..., H, W).
        down (int): Rows, upwards if negative.
        right (int): Columns, to the left if negative.
        circular (bool): Whether what leaves on one side comes in on the other. Default:
            what comes in is 0.

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
        model (nn.Module): As in `predict`.
        samples (Callable[[], Iterable[dict]]): Makes the samples, with `inputs` of
            shape (C, H, W).
        batch_size (int): As in `predict`.
        max_shift (int): In pixels, at least 1. Default: 4.
        seed (int): Of the shifts. Default: 0.
        circular (bool): As in `shift`. Default: False.

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
        model (nn.Module): As in `predict`.
        images (TestImages): The test images.
        name (str): As in `corrupt`.
        severity (int): As in `corrupt`.
        seed (int): As in `corrupt_all`. Default: 0.
        cache (str | Path | None): As in `corrupt_all`; the images are in memory all at
            once then. Default: they are corrupted one after the other, and none is
            kept.
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
        model (nn.Module): As in `predict`.
        images (TestImages): The test images.
        max_shift (int): As in `shift_consistency`. Default: 4.
        corruptions (Sequence[str]): Names of `corruptions.COMMON` and `EXTRA`. Default:
            `COMMON`.
        severity (int): 1 to 5. Default: 3.
        seed (int): Of the shifts and the corruptions. Default: 0.
        cache (str | Path | None): As in `corrupted_accuracy`. Default: None.

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
