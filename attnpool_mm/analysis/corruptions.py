"""Corrupted images, the same in every run: noise, blur, weather, digital faults."""

import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.checks import check_choice, nearest
from ..utils.errors import ConfigError
from ..utils.extras import require

# The 15 that ImageNet-C consists of, and its four for validation
COMMON = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur"),
    *("motion_blur", "zoom_blur", "snow", "frost", "fog", "brightness", "contrast"),
    *("elastic_transform", "pixelate", "jpeg_compression"),
)
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST = 32  # pixels a side that the corruptions need
# These draw from a generator of their own; the others from NumPy's global one
TAKING_A_SEED = ("glass_blur", "impulse_noise")


def check_corruptions(names: Any, severities: Sequence[Any] = ()) -> None:
    """Check the names and severities of corruptions, and that their package is there.

    Args:
        names (Any): A list of names.
        severities (Sequence[Any]): A list of integers from 1 to 5. Default: ().

    Raises:
        ConfigError: A name or a severity is another or comes twice, or
            imagecorruptions is not installed.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ConfigError(f"corruptions={names!r}: a list of names is accepted")
    for name in names:
        if name not in (*COMMON, *EXTRA):
            hint = nearest(str(name), (*COMMON, *EXTRA))
            raise ConfigError(f"corruptions: there is no {name!r}; {hint}")
    if len(set(names)) < len(names):
        raise ConfigError(f"corruptions={names!r}: each name once is accepted")
    for severity in severities:
        check_choice("severity", severity, SEVERITIES)
    if len(set(severities)) < len(severities):
        raise ConfigError(f"severities={severities!r}: each one once is accepted")
    if names:
        require("imagecorruptions", "robustness")


def corrupt(
    image: np.ndarray, name: str, severity: int, seed: Sequence[int] = (0,)
) -> np.ndarray:
    """Corrupt an image, always in the same way for one seed.

    An image smaller than 32 pixels a side is padded with its border's values, and cut
    out afterwards. A grey one goes through as three equal channels, of whose results
    the green one is taken. The strengths are those for ImageNet's photographs.

    Args:
        image (np.ndarray): uint8, (H, W), (H, W, 1) or (H, W, 3), the latter as R, G,
            B.
        name (str): One of `COMMON` or `EXTRA`.
        severity (int): 1 to 5.
        seed (Sequence[int]): Numbers of at least 0 that say what is drawn. NumPy's
            global generator is left as it was. Default: (0,).

    Returns:
        uint8, of the shape of `image`.

    Raises:
        ConfigError: The image is of another kind, or the package is not installed.

    Source:
        Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
        Corruptions and Perturbations", ICLR 2019, arXiv 1903.12261; the package
        imagecorruptions.

    Example:
        >>> image = np.full((28, 28), 100, np.uint8)
        >>> noisy = corrupt(image, 'gaussian_noise', 3)
        >>> noisy.shape, bool((noisy == corrupt(image, 'gaussian_noise', 3)).all())
        ((28, 28), True)
    """
    package = require("imagecorruptions", "robustness")
    colours = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or colours not in (1, 3):
        raise ConfigError(
            f"an image of {image.dtype} and shape {image.shape} cannot be corrupted: "
            "uint8 with one or three channels is accepted"
        )
    whole = image if image.ndim == 3 else image[..., None]
    height, width = image.shape[:2]
    below, right = max(SMALLEST - height, 0), max(SMALLEST - width, 0)
    top, left = below // 2, right // 2
    margins = ((top, below - top), (left, right - left), (0, 0))
    whole = np.pad(whole, margins, mode="edge")
    whole = np.ascontiguousarray(np.broadcast_to(whole, (*whole.shape[:2], 3)))
    with _seeded([*seed, zlib.crc32(name.encode())]) as drawn:
        options = {"seed": drawn} if name in TAKING_A_SEED else {}
        with redirect_stdout(StringIO()):  # some print that they did it another way
            changed = package.corrupt(whole, severity, name, **options)
    changed = changed[top : top + height, left : left + width]
    return (changed if colours == 3 else changed[..., 1:2]).reshape(image.shape)


@contextmanager
def _seeded(seed: Sequence[int]) -> Iterator[int]:
    """NumPy's global generator in a state of its own; gives a seed for another one."""
    before = np.random.get_state()
    first, second = np.random.SeedSequence(seed).generate_state(2)
    np.random.seed(first)
    try:
        yield int(second)
    finally:
        np.random.set_state(before)


def corrupt_all(
    images: Sequence[np.ndarray],
    name: str,
    severity: int,
    seed: int = 0,
    *,
    cache: str | Path,
) -> list[np.ndarray]:
    """Corrupt images, and keep them for the next network.

    Args:
        images (Sequence[np.ndarray]): As in `corrupt`.
        name (str): As in `corrupt`.
        severity (int): As in `corrupt`.
        seed (int): Image number `i` is corrupted with the seed `(seed, i)`. Default: 0.
        cache (str | Path): The folder of the results. A file there is named by all that
            its contents depend on, the images among it.

    Raises:
        ConfigError: As in `corrupt`, or nothing can be written to the folder.

    Example:
        >>> images = [np.zeros((40, 50, 3), np.uint8), np.zeros((28, 28), np.uint8)]
        >>> [image.shape for image in corrupt_all(images, 'fog', 5, cache='cache')]
        [(40, 50, 3), (28, 28)]
    """
    path = Path(cache, f"{name}_{severity}_{_digest(images, seed)}.npy")
    if path.is_file():
        flat = np.load(path)
    else:
        made = [corrupt(im, name, severity, (seed, i)) for i, im in enumerate(images)]
        flat = np.concatenate([image.ravel() for image in made])
        _write(path, flat)
    ends = np.cumsum([image.size for image in images])
    parts = np.split(flat, ends[:-1])
    return [p.reshape(im.shape) for p, im in zip(parts, images, strict=True)]


def _digest(images: Sequence[np.ndarray], seed: int) -> str:
    """Of the images, the seed, and the code that corrupts them."""
    package = require("imagecorruptions.corruptions", "robustness")
    digest = hashlib.sha256(Path(package.__file__).read_bytes())
    digest.update(Path(__file__).read_bytes())
    digest.update(f"{seed} {np.__version__}".encode())
    for image in images:
        digest.update(str(image.shape).encode())
        digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()[:16]


def _write(path: Path, array: np.ndarray) -> None:
    """Write a file that is there as a whole or not at all.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.part")  # another may write it, too
        with partial.open("wb") as file:
            np.save(file, array)
        partial.replace(path)
    except OSError as error:
        where = f"cache={path.parent}"
        raise ConfigError(f"{where}: it cannot be written: {error}") from error
