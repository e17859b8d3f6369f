import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torchvision
from data_files import write_mnist
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, TRANSFORMS, DefaultScope
from mmengine.runner import Runner
from tool_modules import load_tool

from attnpool_mm.datasets import MNIST, FashionMNIST
from attnpool_mm.utils.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
CONFIG = CONFIGS / (
    "classification/fashion_mnist/resnet20-strided_1xb64_fashion-mnist.py"
)
INSTALLED = Path("/usr/share/datasets")  # by Debian's package
LABELS = "t10k-labels-idx1-ubyte"
IMAGES = "t10k-images-idx3-ubyte"


def pack(folder, *names):
    """Leave only the packed files, or only those named packed."""
    for path in [folder / name for name in names] or list(folder.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


@pytest.fixture
def folder(tmp_path):
    """Four small files, unpacked, which a test may break."""
    write_mnist(tmp_path / "fashion-mnist")
    return tmp_path / "fashion-mnist"


def assert_refused(folder, *words, **kwargs):
    with pytest.raises(ConfigError) as caught:
        FashionMNIST(str(folder), **{"split": "test", **kwargs})
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("packed", [(), (IMAGES,), None], ids=["no", "one", "all"])
@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_torchvision_reads_the_same(tmp_path, kind, packed):
    raw = tmp_path / kind.__name__ / "raw"
    written = write_mnist(raw)
    theirs = getattr(torchvision.datasets, kind.__name__)
    expected = {s: theirs(str(tmp_path), s == "train") for s in ("train", "test")}
    if packed != ():
        pack(raw, *(packed or ()))
    for split, (images, labels) in written.items():
        dataset = kind(str(raw), split=split)
        assert len(dataset) == len(expected[split]) == len(images)
        for i, (image, label) in enumerate(expected[split]):
            sample = dataset[i]
            np.testing.assert_array_equal(sample["img"], image, strict=True)
            np.testing.assert_array_equal(sample["img"], images[i])
            assert sample["gt_label"] == label == labels[i]


def test_the_facts_are_those_of_torchvision():
    for kind in (MNIST, FashionMNIST):
        theirs = getattr(torchvision.datasets, kind.__name__)
        listed = dict(kind.train_list + kind.test_list)
        assert listed == dict(theirs.resources)
    assert FashionMNIST.METAINFO["classes"][9] == "Ankle boot"


def test_split_chooses_and_test_mode_does_not(folder):
    for split, count in (("train", 20), ("test", 12)):
        for test_mode in (False, True):
            dataset = FashionMNIST(str(folder), split=split, test_mode=test_mode)
            assert len(dataset) == count and dataset.test_mode == test_mode


def test_files_of_another_split_are_not_needed(folder):
    for path in folder.glob("train-*"):
        path.unlink()
    assert len(FashionMNIST(str(folder), split="test")) == 12


@pytest.mark.parametrize("scope", ["mmdet", "mmpretrain"])
def test_the_scope_tells_it_from_mmpretrains(folder, scope):
    cfg = dict(data_root=f"{folder}/", split="test", indices=[3, 1])
    with DefaultScope.overwrite_default_scope(scope):
        dataset = DATASETS.build(dict(type="attnpool_mm.FashionMNIST", **cfg))
    assert type(dataset) is FashionMNIST and len(dataset) == 2
    assert "Split: \ttest" in repr(dataset)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (dict(split="val"), "split='val'"),
        (dict(download="no"), "download='no'"),
        (dict(data_root=""), "data_root=''"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_before_any_file_is_read(arguments, word):
    with pytest.raises(ConfigError, match=word):
        FashionMNIST(**{"data_root": "absent", "lazy_init": True, **arguments})


def cut(data):
    return data[:-1]


def idx(kind, *sizes, data=b""):
    return struct.pack(f">{1 + len(sizes)}I", kind, *sizes) + data


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        (IMAGES, cut),
        (LABELS, cut),
        (IMAGES, lambda data: data + b"\0"),
        (IMAGES, lambda data: b""),
        (IMAGES, lambda data: b"\x08"),
        (IMAGES, lambda data: data[:16]),
        (IMAGES, lambda data: b"<html>no such page</html>"),
        (IMAGES, lambda data: b"\0\0\x0a\x03" + data[4:]),  # no type of idx
        (IMAGES, lambda data: b"\0\0\x09\x03" + data[4:]),  # signed bytes
        (IMAGES, lambda data: idx(0x803, 0, 28, 28)),
        (IMAGES, lambda data: idx(0x801, 12, data=data[:12])),
        (LABELS, lambda data: idx(0x803, 12, 1, 1, data=data[8:])),
        (LABELS, lambda data: idx(0x801, 11, data=data[8:-1])),
        (LABELS, lambda data: data[:-1] + b"\x0a"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_file_is_named(folder, name, broken, packed):
    path = folder / name
    path.write_bytes(broken(path.read_bytes()))
    if packed:
        pack(folder)
        path = folder / f"{name}.gz"
    assert_refused(folder, str(path))


@pytest.mark.parametrize(
    "broken",
    [
        cut,
        lambda data: data[:40],
        lambda data: b"no gzip",
        lambda data: data[:-8] + b"12345678",  # another checksum
        lambda data: data[:30] + b"\xff" * 20 + data[50:],
    ],
)
def test_a_broken_packed_file_is_named(folder, broken):
    pack(folder)
    path = folder / f"{IMAGES}.gz"
    path.write_bytes(broken(path.read_bytes()))
    assert_refused(folder, str(path))


def test_a_label_of_no_class_is_named(folder):
    data = bytearray((folder / LABELS).read_bytes())
    data[8 + 5] = 10
    (folder / LABELS).write_bytes(data)
    assert_refused(folder, LABELS, "label 5 is 10", "9")
    eleven = dict(classes=tuple("abcdefghijk"))
    assert FashionMNIST(str(folder), split="test", metainfo=eleven)[5]["gt_label"] == 10


@pytest.mark.parametrize("name", [IMAGES, LABELS])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    ways = ("dataset-fashion-mnist", "/usr/share/datasets", "download=True")
    assert_refused(folder, f"{name}.gz", str(folder), *ways)


def test_a_missing_set_is_said_in_one_line(
    tmp_path, monkeypatch, tools_undone, error_of
):
    tool = load_tool("train.py")
    monkeypatch.setenv("ATTNPOOL_DATA", str(tmp_path))
    for _ in range(2):  # without the folder, and without its files
        error = error_of(tool, CONFIG, "--work-dir", tmp_path / "work")
        assert str(tmp_path / "fashion-mnist") in error
        assert "dataset-fashion-mnist" in error and "download=True" in error
        (tmp_path / "fashion-mnist").mkdir(exist_ok=True)
    assert not (tmp_path / "work").exists()
    assert list((tmp_path / "fashion-mnist").iterdir()) == []


def test_download(tmp_path, monkeypatch):
    written = write_mnist(tmp_path / "host")
    pack(tmp_path / "host")
    for name in ("train_list", "test_list"):
        files = [file for file, _ in getattr(FashionMNIST, name)]
        data = [(tmp_path / "host" / file).read_bytes() for file in files]
        sums = [hashlib.md5(content).hexdigest() for content in data]
        listed = [list(pair) for pair in zip(files, sums, strict=True)]
        monkeypatch.setattr(FashionMNIST, name, listed)
    monkeypatch.setattr(FashionMNIST, "url_prefix", f"{(tmp_path / 'host').as_uri()}/")
    target = tmp_path / "target"
    assert_refused(target, "data_root")
    dataset = FashionMNIST(str(target), split="test", download=True)
    assert dataset.get_gt_labels().tolist() == written["test"][1].tolist()
    monkeypatch.setattr(FashionMNIST, "url_prefix", "file:///nowhere/")
    again = FashionMNIST(str(target), split="train", download=True)  # it is there
    assert len(again) == 20


def test_the_base_config_pads_and_normalizes(folder, monkeypatch):
    images = write_mnist(folder.parent / "other")["test"][0]  # the same seed
    monkeypatch.setenv("ATTNPOOL_DATA", str(folder.parent))
    cfg = Config.fromfile(CONFIGS / "_base_/datasets/fashion_mnist_bs64.py")
    expected = np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None].astype(np.float32)
    expected = (expected - cfg.data_preprocessor.mean) / cfg.data_preprocessor.std
    for name in ("train", "val", "test"):
        loader = cfg[f"{name}_dataloader"]
        loader.update(num_workers=0, persistent_workers=False)
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            loader = Runner.build_dataloader(loader, seed=0)
            preprocessor = MODELS.build(
                dict(type="ClsDataPreprocessor", **cfg.data_preprocessor)
            )
        batch = preprocessor(next(iter(loader)))["inputs"]
        if name == "train":
            assert batch.shape == (20, 1, 32, 32)
        else:
            np.testing.assert_allclose(batch, expected, rtol=1e-5, atol=1e-5)


def test_training_images_are_mirrored_in_a_margin(folder, monkeypatch):
    monkeypatch.setenv("ATTNPOOL_DATA", str(folder.parent))
    cfg = Config.fromfile(CONFIGS / "_base_/datasets/fashion_mnist_bs64.py")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    image = dataset.get_data_info(0)["img"]
    expected = {np.pad(way, 2).tobytes() for way in (image, image[:, ::-1])}
    seen = {dataset[0]["inputs"].numpy().tobytes() for _ in range(60)}
    assert seen == expected and len(seen) == 2


def test_a_photograph_becomes_a_grey_image():
    cfg = Config.fromfile(CONFIGS / "_base_/datasets/fashion_mnist_bs64.py")
    sample = dict(img=np.full((60, 60, 3), (0, 0, 255), dtype=np.uint8))  # red
    with TRANSFORMS.switch_scope_and_registry("mmpretrain") as registry:
        for step in cfg.test_dataloader.dataset.pipeline:
            sample = registry.build(step)(sample)
    image = sample["inputs"].numpy()
    assert image.shape == (1, 32, 32)
    assert (image[0] == np.pad(np.full((28, 28), 76), 2)).all()  # 0.299 * 255


@pytest.mark.skipif(
    not (INSTALLED / "fashion-mnist").is_dir(), reason="the set is not installed"
)
def test_the_real_set(monkeypatch):
    monkeypatch.setenv("ATTNPOOL_DATA", os.fspath(INSTALLED))
    cfg = Config.fromfile(CONFIGS / "_base_/datasets/fashion_mnist_bs64.py")
    train = FashionMNIST(cfg.data_root, split="train", serialize_data=False)
    images = np.stack([sample["img"] for sample in train.data_list])
    counts, values = np.bincount(images.ravel(), minlength=256), np.arange(256)
    mean = np.average(values, weights=counts)
    std = np.average((values - mean) ** 2, weights=counts) ** 0.5
    assert [mean] == pytest.approx(cfg.data_preprocessor.mean, abs=5e-3)
    assert [std] == pytest.approx(cfg.data_preprocessor.std, abs=5e-3)
    test = FashionMNIST(cfg.data_root, split="test")
    for dataset, count in ((train, 6000), (test, 1000)):
        assert np.bincount(dataset.get_gt_labels()).tolist() == [count] * 10
