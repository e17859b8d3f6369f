"""The sources of composed detection data, and what is behind them."""

import gzip

import cv2
import numpy as np
import pytest
from data_files import CLASS_COLOURS, write_class_folders, write_mnist
from PIL import Image

from attnpool_mm.datasets import load_backgrounds, load_small_images, scenes_of
from attnpool_mm.datasets.drawing import draw_cutout, draw_ink, shown
from attnpool_mm.datasets.small_images import read_image
from attnpool_mm.utils.errors import ConfigError


@pytest.fixture
def idx(tmp_path):
    write_mnist(tmp_path / "idx")
    return tmp_path / "idx"


@pytest.mark.parametrize("source", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files(idx, source, zipped):
    raw = {path.name: path.read_bytes() for path in idx.iterdir()}
    if zipped:
        for name, data in raw.items():
            (idx / name).unlink()
            (idx / f"{name}.gz").write_bytes(gzip.compress(data))
    for split, stem, count in (("train", "train", 20), ("val", "t10k", 12)):
        read = load_small_images(source, split, idx)
        pixels = b"".join(image.tobytes() for image in read.images)
        assert pixels == raw[f"{stem}-images-idx3-ubyte"][16:]
        assert bytes(read.labels.tolist()) == raw[f"{stem}-labels-idx1-ubyte"][8:]
        assert len(read.images) == count and len(read.classes) == 10


def test_a_missing_idx_file(idx):
    (idx / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ConfigError, match="t10k-labels-idx1-ubyte"):
        load_small_images("mnist", "val", idx)


def test_folder_of_classes_is_split_without_overlap(tmp_path):
    root = write_class_folders(tmp_path / "things")
    parts = {split: load_small_images("folder", split, root) for split in
             ("train", "val")}  # fmt: skip
    assert parts["train"].classes == ("blue", "red")
    assert parts["train"].title == "things"
    assert [len(part.images) for part in parts.values()] == [16, 4]
    assert not set(parts["train"].indices) & set(parts["val"].indices)
    for part in parts.values():
        for image, label in zip(part.images, part.labels, strict=True):
            colour = CLASS_COLOURS[part.classes[label]]
            assert (image[5, 5] == colour).all()


def test_folder_with_a_split_of_its_own(tmp_path):
    write_class_folders(tmp_path / "train", count=3)
    write_class_folders(tmp_path / "val", count=2)
    assert len(load_small_images("folder", "train", tmp_path).images) == 6
    assert len(load_small_images("folder", "val", tmp_path).images) == 4


def test_folders_that_do_not_do(tmp_path):
    with pytest.raises(ConfigError, match="data_root"):
        load_small_images("folder", "train")
    with pytest.raises(ConfigError, match="missing"):
        load_small_images("folder", "train", tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty"):
        load_small_images("folder", "train", tmp_path / "empty")
    root = write_class_folders(tmp_path / "things", count=1)
    with pytest.raises(ConfigError, match="train"):
        load_small_images("folder", "train", root)  # the only ones are held out
    (root / "red" / "1.png").write_text("no image")
    with pytest.raises(ConfigError, match=r"1\.png"):
        load_small_images("folder", "train", root)
    (root / "red" / "1.png").unlink()
    write_class_folders(tmp_path / "train", count=1)
    write_class_folders(tmp_path / "val", count=1)
    (tmp_path / "val" / "blue").rename(tmp_path / "val" / "green")
    for split in ("train", "val"):
        with pytest.raises(ConfigError, match="'blue'"):
            load_small_images("folder", split, tmp_path)
    cv2.imwrite(str(root / "blue" / "0.png"), np.zeros((9, 9), np.uint8))
    with pytest.raises(ConfigError, match="image 0"):
        scenes_of("folder", "val", root)
    (root / "red" / "0.png").unlink()
    (root / "red").rmdir()
    with pytest.raises(ConfigError, match="1 class"):
        load_small_images("folder", "val", root)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_of_16_bits_the_upper_8_are_taken(tmp_path, channels):
    image = np.random.default_rng(0).integers(0, 2**16, (5, 7, channels), np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    order = {1: 0, 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png"), (image[..., order] >> 8).astype(np.uint8)
    )


def test_a_photograph_is_turned_as_it_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    for mode, shape in (("RGB", (40, 20, 3)), ("L", (40, 20))):
        Image.new(mode, (40, 20)).save(tmp_path / "a.jpg", exif=exif)
        assert read_image(tmp_path / "a.jpg").shape == shape


@pytest.mark.parametrize("channels", [0, 3, 4])
@pytest.mark.parametrize("size", [8, 20, 33, 90])
def test_a_cutout_has_the_shape_and_the_colours_of_its_image(size, channels):
    image = np.zeros((30, 28, channels) if channels else (30, 28), np.uint8)
    image[5:25, 4:14] = (200, 100, 50, 255)[:channels] if channels else 102
    image[9:12, 6:9] = image[0, 0] if channels < 4 else (9, 9, 9, 255)  # inside
    sprite = draw_cutout(image, size)
    assert sprite.alpha.shape == (size, round(size / 2))
    assert (sprite.alpha > 0.99).all()
    colour = np.array((200, 100, 50)) if channels else np.array([0.4])
    np.testing.assert_allclose(sprite.pixels[-1, -1], colour, rtol=1e-5)


def test_ink_stays_visible_at_every_size():
    """Of all digits, and of lines of one pixel, wherever they are."""
    digits = load_small_images("digits", "train").images
    lines = np.zeros((24, 28, 28), np.uint8)
    for x, line in enumerate(lines):
        line[5:23, x + 2] = 255
    for size in (8, 11, 20):
        for image in (*digits, *lines, lines[3] // 5):
            alpha = draw_ink(image, size).alpha
            assert 1 <= min(alpha.shape) <= max(alpha.shape) <= size
            assert alpha[[0, -1]].any(1).all() and alpha[:, [0, -1]].any(0).all()
            assert alpha.max() > 0.99


def test_what_shows_of_an_image():
    image = np.zeros((20, 20), np.uint8)
    image[3:17, 2:18] = 90
    image[6:9, 6:9] = 0  # a hole, within the outline
    image[19, 19] = 15  # a faint pixel of the ground
    expected = np.zeros((20, 20), bool)
    expected[3:17, 2:18] = True
    np.testing.assert_array_equal(shown(image), expected)
    grey = np.repeat(image[..., None], 3, axis=2)
    np.testing.assert_array_equal(shown(grey), expected)
    opacity = np.dstack([255 - grey, 255 * (image == 0)])
    np.testing.assert_array_equal(shown(opacity), image == 0)


def numbered_picture(path, height, width):
    """A picture whose every pixel has a colour of its own."""
    number = np.arange(height * width).reshape(height, width)
    picture = np.stack([number // 65536, number // 256 % 256, number % 256], axis=-1)
    cv2.imwrite(str(path), picture.astype(np.uint8)[..., ::-1])
    return number


def test_pictures_are_cut_between_the_splits(tmp_path):
    sizes = {"a.png": (80, 120), "b.png": (200, 70)}
    numbers = [numbered_picture(tmp_path / n, *sizes[n]) for n in sizes]
    (tmp_path / "notes.txt").write_text("no picture")

    def parts(split, shared=False):
        pictures = load_backgrounds(tmp_path, split, shared)
        return [p.astype(int) @ (65536, 256, 1) for p in pictures]

    for train, val, whole, number in zip(
        parts("train"), parts("val"), parts("val", True), numbers, strict=True
    ):
        np.testing.assert_array_equal(whole, number)
        assert not np.intersect1d(train, val).size
        assert train.size + val.size == number.size
        assert train.size == pytest.approx(0.6 * number.size, rel=0.02)


def test_noise_is_of_its_own_for_each_split_and_seed():
    kinds = [("train", 0), ("val", 0), ("train", 1)]
    first = [load_backgrounds("noise", split, seed=s)[0] for split, s in kinds]
    again = load_backgrounds("noise", "train", seed=0)[0]
    np.testing.assert_array_equal(first[0], again)
    assert len({picture.tobytes() for picture in first}) == 3
    assert all(picture.std() > 10 for picture in first)


def test_backgrounds_that_do_not_do(tmp_path):
    with pytest.raises(ConfigError, match="no picture"):
        load_backgrounds(tmp_path, "train")
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((63, 90, 3), np.uint8))
    with pytest.raises(ConfigError, match="90x63"):
        load_backgrounds(tmp_path, "train")
    (tmp_path / "small.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"small\.png"):
        load_backgrounds(tmp_path, "train")
