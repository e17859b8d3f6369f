import hashlib
import multiprocessing
import pickle
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torchvision
from data_files import write_stl10
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from attnpool_mm.datasets import STL10, stl10
from attnpool_mm.engine import preflight
from attnpool_mm.utils.errors import ConfigError

BASE = Path(__file__).parents[2] / "configs/_base_/datasets/stl10_bs8.py"
SPLITS = ("train", "test", "unlabeled")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stl10")
    write_stl10(folder / "stl10_binary")
    return folder


@pytest.fixture
def own(tmp_path):
    """A copy that a test may break."""
    write_stl10(tmp_path)
    return tmp_path


@pytest.fixture
def official(tmp_path):
    """Files of the official sizes, all zeros and labels 1; they take no room."""
    for split, count in stl10.NUM_IMAGES.items():
        with open(tmp_path / f"{split}_X.bin", "wb") as file:
            file.truncate(count * 27648)
        if split != "unlabeled":
            (tmp_path / f"{split}_y.bin").write_bytes(b"\1" * count)
    fold = " ".join(map(str, range(1000)))
    (tmp_path / "fold_indices.txt").write_text(f"{fold}\n" * 10)
    return tmp_path


class TorchvisionSTL10(torchvision.datasets.STL10):
    """The oracle, on files that are not the official ones."""

    def _check_integrity(self):
        return True


def read(root, **kwargs):
    return STL10(str(root), check="format", **kwargs)


def assert_refused(message, root, **kwargs):
    with pytest.raises(ConfigError, match=message) as caught:
        STL10(str(root), **kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("split", "fold"),
    [(split, None) for split in SPLITS] + [("train", fold) for fold in (0, 3, 9)],
)
def test_torchvision_reads_the_same(root, split, fold):
    expected = TorchvisionSTL10(str(root), split, folds=fold)
    dataset = read(root, split=split, fold=fold)
    assert len(dataset) == len(expected) > 0
    for index, (image, label) in enumerate(expected):
        sample = dataset[index]
        rgb = sample["img"][..., ::-1]
        np.testing.assert_array_equal(rgb, np.asarray(image), strict=True)
        assert sample.get("gt_label", -1) == label
        assert sample["sample_idx"] == index
    assert list(dataset.metainfo["classes"]) == expected.classes


def test_the_pixels_are_what_was_written(tmp_path):
    for split, (images, labels) in write_stl10(tmp_path, seed=1).items():
        dataset = read(tmp_path, split=split)
        rgb = [sample["img"][..., ::-1] for sample in dataset]
        np.testing.assert_array_equal(rgb, images)
        if labels is not None:
            np.testing.assert_array_equal(dataset.get_gt_labels(), labels)


def test_facts_are_those_of_torchvision():
    theirs = torchvision.datasets.STL10
    assert theirs.url == stl10.URL
    assert theirs.tgz_md5 == stl10.ARCHIVE_MD5
    assert dict(theirs.train_list + theirs.test_list) == stl10.FILE_MD5


@pytest.mark.parametrize("scope", ["mmdet", "mmpretrain"])
def test_builds_in_any_scope_from_either_folder(root, scope):
    cfg = dict(type="attnpool_mm.STL10", split="train", fold=2, check="format")
    with DefaultScope.overwrite_default_scope(scope):
        outer = DATASETS.build(dict(cfg, data_root=f"{root}/"))
        inner = DATASETS.build(dict(cfg, data_root=str(root / "stl10_binary")))
    for a, b in zip(outer, inner, strict=True):
        np.testing.assert_array_equal(a["img"], b["img"])
    assert "Split: \ttrain, fold 2" in repr(outer)


def test_a_home_folder_is_found(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(read(f"~/{root.name}")) == 20


@pytest.mark.parametrize("serialize_data", [True, False])
def test_base_dataset_arguments_pass_through(root, serialize_data):
    images = [sample["img"] for sample in read(root)]
    dataset = read(root, indices=[7, 3, 5], serialize_data=serialize_data)
    for index, sample in zip((7, 3, 5), dataset, strict=True):
        np.testing.assert_array_equal(sample["img"], images[index])
    subset = dataset.get_subset([2])
    np.testing.assert_array_equal(subset[0]["img"], images[5])
    lazy = read(root, lazy_init=True, metainfo=dict(classes=tuple("abcdefghij")))
    np.testing.assert_array_equal(lazy[7]["img"], images[7])
    assert lazy.metainfo["classes"][9] == "j"


def test_a_sample_can_be_changed_in_place(root):
    dataset = read(root)
    dataset[0]["img"][:] = 0
    assert dataset[0]["img"].any()


@pytest.mark.parametrize(
    "method", sorted({"fork", "spawn"} & {*multiprocessing.get_all_start_methods()})
)
def test_workers_read_the_same(root, method):
    dataset = read(root, split="unlabeled")
    loader = DataLoader(
        dataset,
        batch_size=3,
        num_workers=1 if method != "fork" else 2,
        multiprocessing_context=method,
        collate_fn=pseudo_collate,
    )
    images = [image for batch in loader for image in batch["img"]]
    np.testing.assert_array_equal(images, [sample["img"] for sample in dataset])


def test_the_images_stay_on_the_disk(official):
    with open(official / "unlabeled_X.bin", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\7")
    tracemalloc.start()
    dataset = STL10(str(official), split="unlabeled")
    assert len(dataset) == 100_000
    sample = dataset[99_999]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # the last byte is the blue of the lower right corner
    assert sample["img"][95, 95, 0] == 7 and sample["img"].sum() == 7
    assert peak < 100e6
    assert len(pickle.dumps(dataset)) < 20e6


@pytest.mark.parametrize("split", ["train", "test"])
def test_files_of_the_official_size(official, split):
    dataset = STL10(str(official), split=split)
    assert len(dataset) == {"train": 5000, "test": 8000}[split]
    assert_refused(
        f"{split}_X.bin: its MD5 checksum is not {stl10.FILE_MD5[f'{split}_X.bin']}",
        official,
        split=split,
        check="md5",
    )


def test_files_of_the_official_bytes(official, monkeypatch):
    md5 = {}
    for name in ("train_X.bin", "train_y.bin"):
        md5[name] = hashlib.md5((official / name).read_bytes()).hexdigest()
    monkeypatch.setattr(stl10, "FILE_MD5", md5)
    assert len(STL10(str(official), check="md5", fold=1)) == 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(split="val"), "split='val'"),
        (dict(split=None), "split=None"),
        (dict(check="none"), "check='none'"),
        (dict(fold=10), "fold=10"),
        (dict(fold=-1), "fold=-1"),
        (dict(fold=True), "fold=True"),
        (dict(fold="1"), "fold='1'"),
        (dict(fold=1, split="test"), "fold=1.* split='train'.*'test'"),
        (dict(fold=1, split="unlabeled"), "fold=1.* split='train'.*'unlabeled'"),
        (dict(data_root=""), "data_root=''"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_before_any_file_is_read(arguments, message):
    with pytest.raises(ConfigError, match=message):
        STL10(**{"data_root": "absent", "lazy_init": True, **arguments})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("train_X.bin", {}),
        ("train_y.bin", {}),
        ("test_y.bin", dict(split="test")),
        ("unlabeled_X.bin", dict(split="unlabeled")),
        ("fold_indices.txt", dict(fold=0)),
    ],
)
def test_a_missing_file_is_named(own, name, arguments):
    (own / name).unlink()
    message = f"data_root='{own}'.*{own}/{name}.*download=True"
    assert_refused(message, own, check="format", **arguments)


def test_files_of_another_split_are_not_needed(own):
    for file in own.iterdir():
        if not file.name.startswith("test"):
            file.unlink()
    assert len(read(own, split="test")) == 12


@pytest.mark.parametrize("cut", [1, 27647])
def test_a_file_that_was_cut(own, cut):
    path = own / "train_X.bin"
    path.write_bytes(bytes(20 * 27648 - cut))
    message = f"train_X.bin.* {20 * 27648 - cut} .* 27648"
    assert_refused(message, own, check="format")


@pytest.mark.parametrize("check", ["size", "md5"])
@pytest.mark.parametrize("missing", [1, 27648, -27648])
def test_a_file_that_is_not_of_the_official_size(official, check, missing):
    size = 5000 * 27648 - missing
    with open(official / "train_X.bin", "r+b") as file:
        file.truncate(size)
    message = f"train_X.bin.* {size} .* 138240000 .* 5000 .* check='format'"
    assert_refused(message, official, check=check)


def test_an_empty_file(own):
    (own / "unlabeled_X.bin").write_bytes(b"")
    message = "unlabeled_X.bin.* 0 .* 27648"
    assert_refused(message, own, split="unlabeled", check="format")


@pytest.mark.parametrize("count", [0, 11, 13])
def test_images_and_labels_that_differ_in_number(own, count):
    (own / "test_y.bin").write_bytes(b"\1" * count)
    message = f"test_y.bin.* {count} .* 12 "
    assert_refused(message, own, split="test", check="format")


@pytest.mark.parametrize("label", [0, 11, 255])
def test_a_label_of_no_class(own, label):
    labels = bytearray((own / "train_y.bin").read_bytes())
    labels[13] = label
    (own / "train_y.bin").write_bytes(labels)
    message = f"train_y.bin.* 13 .* {label}, .* 1 to 10 "
    assert_refused(message, own, check="format")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 20", "line 4: '20' .* 20 images"),
        ("-1 3", "line 4: '-1'"),
        ("1 two", "line 4: 'two'"),
        ("1.0", "line 4: '1.0'"),
        ("", "line 4: .* 0 "),
        ("0 1\n2 3", " 11 .* 10 "),
    ],
)
def test_a_broken_fold(own, line, message):
    path = own / "fold_indices.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], line, *lines[4:]]))
    assert_refused(f"fold_indices.txt.*{message}", own, fold=3, check="format")


def test_a_short_fold_of_the_official_files(official):
    path = official / "fold_indices.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:9], "0 1 2"]))
    assert len(STL10(str(official), fold=0)) == 1000
    message = "line 10: .* 3 .* 1000 "
    assert_refused(message, official, fold=9)


def test_download(tmp_path, monkeypatch):
    written = write_stl10(tmp_path / "source")
    archive = tmp_path / "stl10_binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "source", "stl10_binary")
    monkeypatch.setattr(stl10, "URL", archive.as_uri())
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(stl10, "ARCHIVE_MD5", md5)

    target = tmp_path / "target/stl10"
    assert_refused("data_root=.*train_X.bin", target, check="format")
    dataset = read(target, download=True)
    np.testing.assert_array_equal(dataset.get_gt_labels(), written["train"][1])
    archive.unlink()
    assert len(read(target, download=True, split="test")) == 12  # it is there


def load_base(monkeypatch, root):
    """The base config on the small files below `root`/stl10."""
    monkeypatch.setenv("ATTNPOOL_DATA", str(root))
    cfg = Config.fromfile(BASE)
    for name in ("train", "val", "test"):
        loader = cfg[f"{name}_dataloader"]
        loader.dataset.check = "format"
        loader.update(num_workers=0, persistent_workers=False)
    return cfg


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_base_config_makes_batches(tmp_path, monkeypatch, name):
    split = "train" if name == "train" else "test"
    images, labels = write_stl10(tmp_path / "stl10")[split]
    cfg = load_base(monkeypatch, tmp_path)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        loader = Runner.build_dataloader(cfg[f"{name}_dataloader"], seed=0)
        preprocessor = MODELS.build(
            dict(type="ClsDataPreprocessor", **cfg.data_preprocessor)
        )
        batch = preprocessor(next(iter(loader)))
    assert len(loader.dataset) == len(images)
    assert batch["inputs"].shape == (8, 3, 128, 128)
    assert -1 <= batch["inputs"].min() < -0.9 and 0.9 < batch["inputs"].max() <= 1
    found = [int(sample.gt_label) for sample in batch["data_samples"]]
    assert (found == labels[:8].tolist()) == (name != "train")  # only it is shuffled
    if name == "test":  # enlarging keeps each channel's mean
        means = (batch["inputs"].mean((2, 3)) + 1) * 127.5
        np.testing.assert_allclose(means, images[:8].mean((1, 2)), atol=1.5)


def test_missing_data_is_said_with_its_option(tmp_path, monkeypatch):
    cfg = load_base(monkeypatch, tmp_path)
    key = "train_dataloader.dataset.data_root"
    message = f"{key}: '{tmp_path}/stl10' .* --cfg-options {key}="
    with pytest.raises(ConfigError, match=message):
        preflight.check_data_paths(cfg)
    for name in ("train", "val"):
        cfg[f"{name}_dataloader"].dataset.download = True
    preflight.check_data_paths(cfg)
    write_stl10(tmp_path / "stl10/stl10_binary")
    preflight.check_data_paths(load_base(monkeypatch, tmp_path))
