"""Corrupted images against the package's own and arithmetic by hand."""

import sys

import numpy as np
import pytest
from imagecorruptions import corrupt as packages_corrupt

from attnpool_mm.analysis.corruptions import (
    COMMON,
    EXTRA,
    check_corruptions,
    corrupt,
    corrupt_all,
)
from attnpool_mm.utils.errors import ConfigError

DRAWING = {
    *("gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur"),
    *("snow", "frost", "fog", "elastic_transform", "speckle_noise", "spatter"),
}


def picture(*shape):
    pixels = np.random.default_rng(0).integers(40, 200, shape, dtype=np.uint8)
    pixels[shape[0] // 3 :] //= 2
    return pixels


@pytest.mark.parametrize("name", [*COMMON, *EXTRA])
def test_the_seed_alone_says_what_is_drawn(name):
    image = picture(40, 48, 3)
    before = image.copy()
    np.random.seed(1)
    first = corrupt(image, name, 1, (0, 7))
    drawn = np.random.rand()
    np.random.seed(2)
    again = corrupt(image, name, 1, (0, 7))
    np.random.seed(1)
    assert np.random.rand() == drawn  # the global generator is left alone
    assert first.dtype == np.uint8 and first.shape == image.shape
    assert (first != image).any() and (image == before).all()
    assert (first == again).all()
    other = corrupt(image, name, 1, (0, 8))
    assert (first != other).any() == (name in DRAWING)


@pytest.mark.parametrize("name", sorted({*COMMON, *EXTRA} - DRAWING))
def test_a_large_image_is_corrupted_as_the_package_does(name):
    image = picture(40, 48, 3)
    for severity in (1, 5):
        expected = packages_corrupt(image, severity, name)
        assert (corrupt(image, name, severity) == expected).all()


def test_noise_has_the_strength_of_its_severity():
    image = np.full((200, 200), 128, np.uint8)
    for severity, deviation in ((1, 0.08), (2, 0.12)):  # ImageNet-C's
        noise = corrupt(image, "gaussian_noise", severity) / 255
        assert noise.std() == pytest.approx(deviation, rel=0.02)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (28, 30, 3), (8, 8), (1, 40)])
def test_a_small_image_is_padded_with_its_border(shape):
    image = picture(*shape)
    missing = [max(32 - side, 0) for side in shape[:2]]
    margins = [(m // 2, m - m // 2) for m in missing] + [(0, 0)] * (len(shape) - 2)
    padded = np.pad(image, margins, mode="edge") / 255
    mean = padded.mean((0, 1))
    expected = np.clip((image / 255 - mean) * 0.4 + mean, 0, 1) * 255
    changed = corrupt(image, "contrast", 1)
    assert changed.shape == shape
    assert np.abs(changed - expected).max() < 1 + 1e-9  # rounded down


@pytest.mark.parametrize("name", [*COMMON, *EXTRA])
def test_a_small_grey_image_at_the_ends(name, capsys):
    image = picture(28, 28)
    for severity in (1, 5):
        assert corrupt(image, name, severity).shape == (28, 28)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "image", [np.zeros((40, 40)), np.zeros((40, 40, 4), np.uint8), np.zeros(9, "uint8")]
)
def test_other_images_are_refused(image):
    with pytest.raises(ConfigError, match=r"shape \("):
        corrupt(image, "fog", 1)


def test_results_are_kept_for_the_same_images_only(tmp_path):
    images = [picture(28, 28), picture(40, 33, 3)]
    expected = [corrupt(im, "fog", 2, (5, i)) for i, im in enumerate(images)]
    for _ in range(2):
        made = corrupt_all(images, "fog", 2, 5, cache=tmp_path / "a" / "b")
        assert all((a == b).all() for a, b in zip(made, expected, strict=True))
        (kept,) = (tmp_path / "a" / "b").iterdir()
        assert kept.suffix == ".npy"
    kept.unlink()
    np.save(kept, np.full(28 * 28 + 40 * 33 * 3, 9, np.uint8))
    made = corrupt_all(images, "fog", 2, 5, cache=kept.parent)
    assert (made[1] == np.full((40, 33, 3), 9)).all()  # from the file
    images[0] = images[0] + 1
    for arguments in (("fog", 2, 5), ("fog", 3, 5), ("snow", 2, 5), ("fog", 2, 6)):
        corrupt_all(images, *arguments, cache=kept.parent)
    assert len(list(kept.parent.iterdir())) == 5


def test_bad_names_and_severities():
    check_corruptions([])
    check_corruptions([*COMMON, *EXTRA], [1, 5])
    for names, severities, said in (
        (["fogg"], [], "'fog'"),
        ("fog", [], "list"),
        (["fog", "fog"], [], "once"),
        ([3], [], "3"),
        (["fog"], [0], "severity=0"),
        (["fog"], [True], "severity=True"),
        (["fog"], [1.0], "severity=1.0"),
        (["fog"], [1, 1], "severities="),
    ):
        with pytest.raises(ConfigError, match=said):
            check_corruptions(names, severities)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    check_corruptions([])
    with pytest.raises(ConfigError, match=r"attnpool_mm\[robustness\]"):
        check_corruptions(["fog"])
