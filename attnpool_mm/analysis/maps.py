"""The weights of the pools, recorded in a forward pass, and maps drawn on images."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ..pooling import WeightedPool2d
from ..pooling.weighted import upsample_nearest
from ..utils.errors import ConfigError

CAPTION_HEIGHT = 22
SMALLEST_PICTURE = 256


@contextmanager
def record_weights(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the weights of every `WeightedPool2d` in the forward passes inside.

    They are what `compute_weight` gives. Where a pool divides out the largest weight of
    each window (self-attentive pooling without the sigmoid, whose windows do not
    overlap), they compare pixels inside a window, not windows with one another.

    Args:
        model (nn.Module): A network in evaluation mode.

    Yields:
        An empty dict that fills in the order of the forward pass: name of the pool →
        its weights (B, C, H, W) on the grid of its input. A later pass overwrites.

    Raises:
        ConfigError: `model` has no such pool, or is in training mode (recording
            would count in its batch statistics).

    Example:
        >>> from attnpool_mm.pooling import SelfAttentivePool2d
        >>> model = nn.Sequential(SelfAttentivePool2d(8)).eval()
        >>> with torch.no_grad(), record_weights(model) as weights:
        ...     _ = model(torch.rand(1, 8, 6, 6))
        >>> {name: tuple(weight.shape) for name, weight in weights.items()}
        {'0': (1, 8, 6, 6)}
    """
    pools = {n: m for n, m in model.named_modules() if isinstance(m, WeightedPool2d)}
    if not pools:
        raise ConfigError(
            f"model {type(model).__name__}: it has no weighted pool whose weights "
            "could be recorded"
        )
    if any(pool.training for pool in pools.values()):
        raise ConfigError("model.training=True: call model.eval() first")
    weights: dict[str, Tensor] = {}

    def hook_of(name: str):
        def hook(pool: WeightedPool2d, inputs: tuple[Tensor], _: Tensor) -> None:
            x, source = inputs[0], inputs[-1]  # LIP's weights may be of another map
            with torch.no_grad():
                weight = pool.compute_weight(source)
            weights[name] = upsample_nearest(weight, x.shape[-2:])

        return hook

    handles = [pool.register_forward_hook(hook_of(n)) for n, pool in pools.items()]
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()


def mean_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean over the channels of one image's weights, (C, h, w) → (h, w)."""
    return {name: w.detach().float().cpu().mean(0) for name, w in weights.items()}


def on_image(
    values: Tensor, size: tuple[int, int], padded_size: tuple[int, int] | None = None
) -> Tensor:
    """A map (h, w) of the network's input on the pixels of the image, by the nearest.

    Args:
        values (Tensor): The map.
        size (tuple[int, int]): Height and width of the image in pixels.
        padded_size (tuple[int, int] | None): Those of the network's input, if it was
            padded on the right and below. Default: `size`.

    Returns:
        (H, W); what lies in the padding is cut off.
    """
    values = upsample_nearest(values[None, None], padded_size or size)
    return values[0, 0, : size[0], : size[1]]


def draw_weights(
    image: np.ndarray,
    weights: Mapping[str, Tensor],
    padded_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Draw an image and beside it, laid over it, the mean weight of each pool.

    Args:
        image (np.ndarray): uint8 RGB (H, W, 3).
        weights (Mapping[str, Tensor]): Caption → weights (C, h, w) of one image.
        padded_size (tuple[int, int] | None): As in `draw_maps`. Default: that of
            `image`.

    Returns:
        uint8 RGB, the image and the overlays in a row, as `draw_maps` draws them.
    """
    return draw_maps(image, mean_weights(weights), padded_size)


def draw_maps(
    image: np.ndarray,
    maps: Mapping[str, Tensor],
    padded_size: tuple[int, int] | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
    title: str = "image",
) -> np.ndarray:
    """Draw an image and beside it, laid over it, maps of what is where.

    Each overlay runs from blue, that map's smallest value, to red, its largest; the
    caption says which these are.

    Args:
        image (np.ndarray): uint8 RGB (H, W, 3).
        maps (Mapping[str, Tensor]): Caption → map (h, w) of the network's input.
        padded_size (tuple[int, int] | None): Height and width of the network's input in
            pixels, if it was padded on the right and below. Default: those of `image`.
        limits (Mapping[str, tuple[float, float]] | None): Caption → the values that are
            blue and red, for maps that share a scale. Default: each has its own.
        title (str): Caption of the image. Default: 'image'.

    Returns:
        uint8 RGB, the image and the overlays in a row. Small images are enlarged.

    Example:
        >>> image = np.zeros((32, 32, 3), np.uint8)
        >>> draw_maps(image, {'a map': torch.rand(4, 4)}).shape
        (278, 512, 3)
    """
    size = image.shape[:2]
    scale = max(1, -(-SMALLEST_PICTURE // min(size)))
    enlarged = image.repeat(scale, axis=0).repeat(scale, axis=1)
    pictures = [_captioned(enlarged, title)]
    for name, map_ in maps.items():
        values = on_image(map_, size, padded_size).numpy()
        low, high = values.min(), values.max()
        values = values.repeat(scale, axis=0).repeat(scale, axis=1)
        overlay = _overlay(enlarged, values, *(limits or {}).get(name, (low, high)))
        pictures.append(_captioned(overlay, f"{name}: {low:.3f} to {high:.3f}"))
    return np.concatenate(pictures, axis=1)


def stack_rows(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures one below the other, the narrower ones with white to their right."""
    width = max(row.shape[1] for row in rows)
    return np.concatenate(
        [
            np.pad(
                row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255
            )
            for row in rows
        ]
    )


def _overlay(
    image: np.ndarray, values: np.ndarray, low: float, high: float
) -> np.ndarray:
    shades = (values - low) / ((high - low) or 1)
    shades = (255 * shades.clip(0, 1)).astype(np.uint8)
    colours = cv2.applyColorMap(shades, cv2.COLORMAP_JET)[..., ::-1]
    return cv2.addWeighted(image, 0.5, np.ascontiguousarray(colours), 0.5, 0)


def _captioned(picture: np.ndarray, text: str) -> np.ndarray:
    caption = np.full((CAPTION_HEIGHT, picture.shape[1], 3), 255, np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, _), _ = cv2.getTextSize(text, font, 0.45, 1)
    size = 0.45 * min(1, (picture.shape[1] - 8) / width)
    cv2.putText(caption, text, (4, 15), font, size, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([caption, picture], axis=0)
