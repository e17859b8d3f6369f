"""How a small image is drawn on a picture: as ink, or as a thing cut out."""

from typing import NamedTuple

import cv2
import numpy as np

MIN_INK = 0.4  # below it a pixel is clear, so that loops stay open
FULL_INK = 0.65  # from it on a pixel is opaque
MIN_VALUE = 16  # of 255: darker pixels around a thing are clear
COLOUR_TRIES = 30
# OpenCV's 8-bit Lab; shapes are read by lightness more than by hue
LAB_WEIGHTS = np.float32([1, 0.5, 0.5])
MIN_CONTRAST = 70  # distance in weighted Lab
CONTRAST_SIDE = 64  # pixels of a longer side that it is taken of, at most


class Sprite(NamedTuple):
    """A small image at its final size, cut to what shows of it.

    Attributes:
        alpha: Opacity of its pixels, 0 to 1, float32 of shape (height, width). The
            first and last rows and columns have a visible pixel.
        pixels: Its RGB colours, 0 to 255, float32 of shape (height, width, 3), or
            shades, 0 to 1, of shape (height, width, 1), for the colour that it gets.
    """

    alpha: np.ndarray
    pixels: np.ndarray


def draw_ink(image: np.ndarray, size: int) -> Sprite:
    """Draw an image of strokes, grey (H, W), in a square of `size` pixels."""
    # The margin lets strokes that touch the border fade out as the others do.
    image = np.pad(image, 1)
    shrinks = size < max(image.shape)
    mode = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    ink = cv2.resize(image, (size, size), interpolation=mode)
    ink = ink.astype(np.float32) / 255
    ink *= max(1, FULL_INK / ink.max())  # thin strokes, and faint ones, stay visible
    visible = ink > MIN_INK
    alpha = np.where(visible, np.minimum(ink / FULL_INK, 1), 0)
    return Sprite(alpha[_extent(visible)], np.ones((1, 1, 1), np.float32))


def draw_cutout(image: np.ndarray, size: int) -> Sprite:
    """Draw the thing that an image shows, its longer side `size` pixels.

    What shows is the fourth channel of four, where there is one; else whatever lies
    within the outline of the pixels that are not nearly black.
    """
    mask = shown(image)
    mask, image = mask[_extent(mask)], image[_extent(mask)]
    scale = size / max(mask.shape)
    shape = [max(1, round(side * scale)) for side in reversed(mask.shape)]
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    alpha = cv2.resize(mask.astype(np.float32), shape, interpolation=mode)
    colours = image[..., None] / 255 if image.ndim == 2 else image[..., :3]
    # only the thing's own pixels are averaged, none of the ground's
    colours = np.float32(colours) * mask[..., None]
    colours = cv2.resize(colours, shape, interpolation=mode)
    colours = colours.reshape(*alpha.shape, -1) / np.maximum(alpha, 1e-6)[..., None]
    visible = alpha >= 0.5 * alpha.max()
    extent = _extent(visible)
    return Sprite(np.where(visible, alpha, 0)[extent], colours[extent])


def shown(image: np.ndarray) -> np.ndarray:
    """The pixels of a thing on black, or of an image with opacity: bool (H, W)."""
    if image.ndim == 3 and image.shape[2] == 4:
        return image[..., 3] >= 128
    bright = (image if image.ndim == 2 else image.max(axis=2)) >= MIN_VALUE
    outlines, _ = cv2.findContours(
        bright.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    filled = np.zeros(bright.shape, np.uint8)
    return cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED).astype(bool)


def paste(patch: np.ndarray, sprite: Sprite, rng: np.random.Generator) -> None:
    """Draw a sprite over a patch, uint8 RGB of its height and width, in place.

    Shades get a random colour that stands out from nearly every pixel of the patch.
    """
    colours = sprite.pixels
    if colours.shape[2] == 1:
        colours = colours * _contrasting_colour(patch, rng)
    patch[:] = np.rint(patch + sprite.alpha[..., None] * (colours - patch))


def _contrasting_colour(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    colours = rng.integers(256, size=(COLOUR_TRIES, 3), dtype=np.uint8)
    lab = cv2.cvtColor(colours[None], cv2.COLOR_RGB2LAB)[0] * LAB_WEIGHTS
    step = -(-max(patch.shape) // CONTRAST_SIDE)
    pixels = cv2.cvtColor(patch, cv2.COLOR_RGB2LAB)[::step, ::step] * LAB_WEIGHTS
    pixels = pixels.reshape(-1, 3)
    distances = np.linalg.norm(lab[:, None] - pixels, axis=-1)
    contrast = np.percentile(distances, 10, axis=1)
    enough = np.flatnonzero(contrast >= MIN_CONTRAST)
    best = enough[0] if len(enough) else np.argmax(contrast)
    return colours[best].astype(np.float32)


def _extent(visible: np.ndarray) -> tuple[slice, slice]:
    x, y, width, height = cv2.boundingRect(visible.astype(np.uint8))
    return np.s_[y : y + height, x : x + width]
