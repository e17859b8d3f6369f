"""The weights of the pools, recorded in a forward pass and drawn on the image."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from mmengine.visualization import Visualizer
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


def draw_weights(
    image: np.ndarray,
    weights: Mapping[str, Tensor],
    padded_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Draw an image and beside it, laid over it, the mean weight of each pool.

    Each overlay runs from blue, that pool's smallest weight, to red, its largest;
    the caption says which these are.

    Args:
        image (np.ndarray): uint8 RGB (H, W, 3).
        weights (Mapping[str, Tensor]): Caption → weights (C, h, w) of one image.
        padded_size (tuple[int, int] | None): Height and width of the network's input in
            pixels, if it was padded on the right and below. Default: those of `image`.

    Returns:
        uint8 RGB, the image and the overlays in a row.
    """
    height, width = image.shape[:2]
    padded_size = padded_size or (height, width)
    scale = max(1, -(-SMALLEST_PICTURE // min(height, width)))
    image = image.repeat(scale, axis=0).repeat(scale, axis=1)
    pictures = [_captioned(image, "image")]
    for name, weight in weights.items():
        mean = weight.detach().float().cpu().mean(0)
        mean = upsample_nearest(mean[None, None], padded_size)[..., :height, :width]
        mean = upsample_nearest(mean, image.shape[:2])[0]
        overlay = Visualizer.draw_featmap(mean, image)
        caption = f"{name}: {mean.min():.3f} to {mean.max():.3f}"
        pictures.append(_captioned(overlay, caption))
    return np.concatenate(pictures, axis=1)


def _captioned(picture: np.ndarray, text: str) -> np.ndarray:
    caption = np.full((CAPTION_HEIGHT, picture.shape[1], 3), 255, np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, _), _ = cv2.getTextSize(text, font, 0.45, 1)
    size = 0.45 * min(1, (picture.shape[1] - 8) / width)
    cv2.putText(caption, text, (4, 15), font, size, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([caption, picture], axis=0)
