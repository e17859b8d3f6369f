"""The weights of the pools over a training, drawn on one scale per pool."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ..utils.atomic_files import write_atomically
from .maps import draw_maps, on_image, stack_rows

FRAME_SECONDS = 0.7

# A picture uint8 RGB, and the size that it was padded to for the network
Picture = tuple[np.ndarray, tuple[int, int]]
# When → for each picture, pool → its mean weights (h, w)
History = Mapping[str, Sequence[Mapping[str, Tensor]]]


def weight_limits(
    pictures: Sequence[Picture], history: History
) -> dict[str, tuple[float, float]]:
    """The smallest and the largest weight of each pool, of all times and pictures."""
    limits: dict[str, tuple[float, float]] = {}
    for moment in history.values():
        for (image, padded_size), maps in zip(pictures, moment, strict=True):
            for pool, weights in maps.items():
                seen = on_image(weights, image.shape[:2], padded_size)
                low, high = limits.get(pool, (np.inf, -np.inf))
                limits[pool] = (
                    min(low, seen.min().item()),
                    max(high, seen.max().item()),
                )
    return limits


def draw_strips(pictures: Sequence[Picture], history: History) -> dict[str, np.ndarray]:
    """Draw each pool's weights over time: a row a picture, a column a time.

    Args:
        pictures (Sequence[Picture]): The images, uint8 RGB, each with height and width
            of the network's input.
        history (History): Caption of a time → for each image, pool → mean weights
            (h, w). In the order of the columns.

    Returns:
        Pool → uint8 RGB. All overlays of a pool are on one scale, from blue, the
        smallest weight, to red, the largest, which the captions of the images say.

    Example:
        >>> import torch
        >>> pictures = [(np.zeros((32, 32, 3), np.uint8), (32, 32))] * 2
        >>> history = {f'epoch {i}': [{'pool': torch.rand(4, 4)}] * 2 for i in range(3)}
        >>> draw_strips(pictures, history)['pool'].shape
        (556, 1024, 3)
    """
    limits = weight_limits(pictures, history)
    strips = {}
    for pool, (low, high) in limits.items():
        rows = []
        for index, (image, padded_size) in enumerate(pictures):
            maps = {when: moment[index][pool] for when, moment in history.items()}
            rows.append(
                draw_maps(
                    image,
                    maps,
                    padded_size,
                    dict.fromkeys(maps, (low, high)),
                    f"{pool}: blue {low:.3f}, red {high:.3f}",
                )
            )
        strips[pool] = stack_rows(rows)
    return strips


def draw_frames(pictures: Sequence[Picture], history: History) -> list[np.ndarray]:
    """Draw the weights of all pools at each time: a row a picture, a column a pool.

    Args:
        pictures (Sequence[Picture]): As in `draw_strips`.
        history (History): As in `draw_strips`.

    Returns:
        A picture, uint8 RGB, for each time; colours as in `draw_strips`.
    """
    limits = weight_limits(pictures, history)
    return [
        stack_rows(
            [
                draw_maps(image, maps, padded_size, limits, title=when)
                for (image, padded_size), maps in zip(pictures, moment, strict=True)
            ]
        )
        for when, moment in history.items()
    ]


def write_video(path: str | Path, frames: Sequence[np.ndarray]) -> None:
    """Write frames, uint8 RGB, as an endless GIF."""
    first, *others = map(Image.fromarray, frames)
    file = BytesIO()
    first.save(
        file,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=int(1000 * FRAME_SECONDS),
        loop=0,
    )
    write_atomically(path, file.getbuffer())
