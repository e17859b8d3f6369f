import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_files import write_coco
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import Runner
from mmpretrain.datasets import CustomDataset
from pycocotools.coco import COCO
from tool_modules import load_tool

from attnpool_mm.datasets import VisualWakeWords, read_wake_word_labels
from attnpool_mm.engine import preflight
from attnpool_mm.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONFIG = (
    ROOT
    / "configs/classification/visual_wake_words/mobilenet-v2-nlp-block-end_1xb64_vww.py"
)
TOOL = ROOT / "tools/dataset_converters/coco_to_visual_wake_words.py"
JSON = "annotations/instances_val2017.json"


@pytest.fixture
def root(tmp_path):
    """A copy that a test may break."""
    write_coco(tmp_path / "coco")
    return tmp_path / "coco"


def read(root, **kwargs):
    return VisualWakeWords(
        JSON, data_root=str(root), data_prefix=dict(img_path="val2017/"), **kwargs
    )


def pycocotools_labels(path, threshold="0.005", foreground="person", skip_crowd=False):
    """The oracle: pycocotools' index and exact fractions."""
    coco = COCO(str(path))
    category_ids = coco.getCatIds(catNms=[foreground])
    labels = []
    for image in coco.dataset["images"]:
        ids = coco.getAnnIds(
            imgIds=image["id"],
            catIds=category_ids,
            iscrowd=False if skip_crowd else None,
        )
        smallest = Fraction(threshold) * image["width"] * image["height"]
        boxes = [annotation["bbox"] for annotation in coco.loadAnns(ids)]
        areas = [Fraction(str(w)) * Fraction(str(h)) for _, _, w, h in boxes]
        labels.append((image["file_name"], int(max(areas, default=-1) >= smallest)))
    return labels


@pytest.mark.parametrize("scope", ["mmdet", "mmpretrain"])
def test_samples(root, scope):
    labels = write_coco(root)
    cfg = dict(
        type="attnpool_mm.VisualWakeWords",
        data_root=f"{root}/",
        ann_file=JSON,
        data_prefix=dict(img_path="val2017/"),
    )
    with DefaultScope.overwrite_default_scope(scope):
        dataset = DATASETS.build(cfg)
    assert len(dataset) == len(labels)
    assert dataset.get_gt_labels().tolist() == list(labels.values())
    for sample, name in zip(dataset, labels, strict=True):
        assert Path(sample["img_path"]) == root / "val2017" / name
    assert dataset.metainfo["classes"] == ("background", "person")
    assert "Foreground: \tperson, from 0.005 of the image" in repr(dataset)


@pytest.mark.parametrize("skip_crowd", [False, True])
@pytest.mark.parametrize("foreground", ["person", "dog", "cat"])
@pytest.mark.parametrize("threshold", ["0", "0.003", "0.005", "0.3", "1"])
def test_pycocotools_gives_the_same_labels(root, threshold, foreground, skip_crowd):
    arguments = dict(foreground=foreground, skip_crowd=skip_crowd)
    expected = pycocotools_labels(root / JSON, threshold, **arguments)
    dataset = read(root, threshold=float(threshold), **arguments)
    found = [(Path(s["img_path"]).name, s["gt_label"]) for s in dataset]
    assert found == expected
    assert dataset.metainfo["classes"] == ("background", foreground)


def test_what_the_written_files_hold(root):
    labels = write_coco(root)
    assert list(labels.items()) == pycocotools_labels(root / JSON)
    fewer = pycocotools_labels(root / JSON, skip_crowd=True)
    assert sum(dict(fewer).values()) == sum(labels.values()) - 2


def test_random_boxes_at_and_about_the_threshold(tmp_path):
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for image_id in rng.permutation(3000).tolist():
        width, height = (rng.integers(1, 9, size=2) * 80).tolist()
        size = dict(width=width, height=height)
        images.append(dict(id=image_id, file_name=f"{image_id}.jpg", **size))
        for _ in range(rng.integers(3)):
            # side lengths whose product is often the threshold
            w = int(rng.choice([5, 8, 10, 16, 20, 32, 40]))
            h = width * height / 200 / w * float(rng.choice([0.5, 1, 1, 1.25]))
            annotation = dict(image_id=image_id, bbox=[0, 0, w, h], id=len(annotations))
            category = int(rng.choice([1, 2]))
            crowd = int(rng.random() < 0.2)
            annotations.append(dict(annotation, category_id=category, iscrowd=crowd))
    names = ("cat", "person")
    categories = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
    path = tmp_path / "random.json"
    coco = dict(images=images, annotations=annotations, categories=categories)
    path.write_text(json.dumps(coco))
    for skip_crowd in (False, True):
        expected = pycocotools_labels(path, skip_crowd=skip_crowd)
        assert read_wake_word_labels(path, skip_crowd=skip_crowd) == expected


def test_base_dataset_arguments_pass_through(root, monkeypatch):
    labels = list(write_coco(root).values())
    monkeypatch.setenv("HOME", str(root.parent))
    lazy = read("~/coco", indices=[5, 2], lazy_init=True)
    assert "Haven't been initialized" in repr(lazy)
    assert lazy.get_gt_labels().tolist() == [labels[5], labels[2]]
    prefix = str(root / "val2017")
    absolute = VisualWakeWords(str(root / JSON), data_prefix=prefix, classes=("n", "y"))
    assert Path(absolute[0]["img_path"]).is_file()
    assert absolute.metainfo["classes"] == ("n", "y")
    named = read(root, metainfo=dict(classes=("no", "yes")))
    assert named.metainfo["classes"] == ("no", "yes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(threshold=-0.1), "threshold=-0.1"),
        (dict(threshold=5), "threshold=5"),
        (dict(threshold=float("nan")), "threshold=nan"),
        (dict(threshold="0.005"), "threshold='0.005'"),
        (dict(threshold=True), "threshold=True"),
        (dict(foreground=""), "foreground=''"),
        (dict(foreground=1), "foreground=1"),
        (dict(ann_file=""), "ann_file=''"),
        (dict(data_prefix=dict(img="val2017")), "data_prefix={'img': 'val2017'}"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_before_any_file_is_read(arguments, message):
    with pytest.raises(ConfigError, match=message):
        VisualWakeWords(**{"ann_file": "absent", "lazy_init": True, **arguments})


def assert_refused(message, root, **kwargs):
    with pytest.raises(ConfigError, match=f"{root / JSON}: {message}") as caught:
        read(root, **kwargs)
    assert "\n" not in str(caught.value)


def test_a_missing_file(root):
    (root / JSON).unlink()
    assert_refused(".*instances_val", root)


@pytest.mark.parametrize(
    "content",
    [b"", b'{"images": [', b"\xff\xd8\xff\xe0", b"[" * 10**5, b"9" * 5000],
    ids=lambda content: ascii(content[:12]),
)
def test_a_file_that_is_no_json(root, content):
    (root / JSON).write_bytes(content)
    assert_refused(".*instances_val", root)


def test_a_folder_instead_of_a_file(root):
    (root / JSON).unlink()
    (root / JSON).mkdir()
    assert_refused(".*directory.*instances_val", root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([dict(image_id=1, bbox=[0, 0, 1, 1], score=0.5)], ".* list"),
        (3, ".*'images'"),
        (dict(images=[], annotations=[]), ".*'categories'"),  # captions
        (dict(images=[], categories=[]), ".*'annotations'"),  # test set
        (dict(images=[], annotations=[], categories=[]), "'images'"),
        (dict(images={}, annotations=[], categories=[]), "'images'.* list"),
    ],
    ids=str,
)
def test_a_json_of_something_else(root, content, message):
    (root / JSON).write_text(json.dumps(content))
    assert_refused(f"{message}.*instances_val", root)


ABSENT = ...


@pytest.mark.parametrize(
    ("key", "name", "value", "message"),
    [
        ("images", "width", ABSENT, r"images\[0\] .*'width'"),
        ("images", "height", ABSENT, r"images\[0\] .*'height'"),
        ("images", "file_name", ABSENT, r"images\[0\] .*'file_name'"),
        ("images", "id", ABSENT, r"images\[0\] .*'id'"),
        ("images", "width", 0, r"images\[0\] .*width=0"),
        ("images", "height", "80", r"images\[0\] .*height='80'"),
        # panoptic annotations
        ("annotations", "category_id", ABSENT, r"annotations\[0\] .*'category_id'"),
        ("annotations", "image_id", ABSENT, r"annotations\[0\] .*'image_id'"),
        ("annotations", "bbox", ABSENT, r"annotations\[0\] .*bbox=None"),
        ("annotations", "bbox", [1, 2, 3], r"annotations\[0\] .*bbox=\[1, 2, 3\]"),
        ("annotations", "bbox", [1, 2, -3, -4], r".*bbox=\[1, 2, -3, -4\]"),
        ("annotations", "bbox", [1, 2, "3", 4], r".*bbox=\[1, 2, '3', 4\]"),
        ("categories", "name", ABSENT, r"categories\[0\] .*'name'"),
        # what no dict, no division and no line of a list takes
        ("images", "id", [1], r"images\[0\] .*id=\[1\]"),
        ("images", "id", None, r"images\[0\] .*id=None"),
        ("annotations", "image_id", [1], r"annotations\[0\] .*image_id=\[1\]"),
        ("annotations", "category_id", {}, r"annotations\[0\] .*category_id=\{\}"),
        ("categories", "id", {"a": 1}, r"categories\[0\] .*id=\{'a': 1\}"),
        ("images", "width", 10**400, r"images\[0\] .*width=1000"),
        ("images", "width", 1e-300, r"images\[0\] .*width=1e-300"),
        ("annotations", "bbox", [1, 2, 10**400, 4], r"annotations\[0\] .*bbox=\[1, 2"),
        ("annotations", "bbox", [1, 2, float("inf"), 4], r"annotations\[0\] .*inf"),
        ("annotations", "bbox", [[[1] * 99] * 99] * 99, r"annotations\[0\] .{,2000}$"),
        ("images", "file_name", 7, r"images\[0\] .*file_name=7"),
        ("images", "file_name", ["a"], r"images\[0\] .*file_name=\['a'\]"),
        ("images", "file_name", "", r"images\[0\] .*file_name=''"),
        ("images", "file_name", "a 1\nb", r"images\[0\] .*file_name='a 1\\nb'"),
        ("images", "file_name", "a\rb", r"images\[0\] .*file_name='a\\rb'"),
        ("images", "file_name", "a\u2028b", r"images\[0\] .*file_name='a\\u2028b'"),
        ("images", "file_name", "a\0b", r"images\[0\] .*file_name='a\\x00b'"),
        ("images", "file_name", "a\ud800b", r"images\[0\] .*file_name='a\\ud800b'"),
        ("images", "file_name", " a", r"images\[0\] .*file_name=' a'"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_an_entry_that_lacks_something(root, key, name, value, message):
    coco = json.loads((root / JSON).read_text())
    coco["annotations"][0]["category_id"] = 7
    if value is ABSENT:
        del coco[key][0][name]
    else:
        coco[key][0][name] = value
    (root / JSON).write_text(json.dumps(coco))
    assert_refused(message, root)


def test_a_category_that_is_not_there(root):
    message = ".*'zebra'.*'dog', 'cat', 'person'"
    assert_refused(message, root, foreground="zebra")
    coco = json.loads((root / JSON).read_text())
    del coco["categories"][2]
    (root / JSON).write_text(json.dumps(coco))
    assert_refused(".*'person'.*'dog', 'cat'", root)


def test_a_number_here_and_a_text_there(root):
    coco = json.loads((root / JSON).read_text())
    coco["annotations"][0]["image_id"] = str(coco["annotations"][0]["image_id"])
    (root / JSON).write_text(json.dumps(coco))
    with pytest.raises(ConfigError, match="image_id='"):
        read_wake_word_labels(root / JSON)


def test_names_and_ids_of_any_language(root):
    coco = json.loads((root / JSON).read_text())
    names = ["Ärger/ä b.jpg", "山\u3000川.jpg", "b.jpg "]
    for image, name in zip(coco["images"], names, strict=False):
        image["file_name"] = name
    (root / JSON).write_text(json.dumps(coco))
    expected = pycocotools_labels(root / JSON)  # which takes numbers alone
    for entry in (*coco["images"], *coco["annotations"]):
        key = "image_id" if "image_id" in entry else "id"
        entry[key] = f"{entry[key]:x}"  # as some tools name images
    (root / JSON).write_text(json.dumps(coco))
    assert read_wake_word_labels(root / JSON) == expected


def test_the_list_of_the_tool(root, tmp_path, output_of):
    target = tmp_path / "list.txt"
    said = output_of(load_tool(TOOL), root / JSON, target)
    assert said.splitlines()[-1] == f"10 images, 5 background, 5 person: {target}"
    assert list(tmp_path.glob("*.partial")) == []
    theirs = CustomDataset(ann_file=str(target), data_prefix=str(root / "val2017"))
    assert list(read(root)) == list(theirs)


def test_options_of_the_tool(root, tmp_path, output_of):
    target = tmp_path / "list.txt"
    options = ("--threshold", "0.3", "--foreground", "dog", "--skip-crowd")
    said = output_of(load_tool(TOOL), root / JSON, target, *options)
    expected = pycocotools_labels(root / JSON, "0.3", "dog", skip_crowd=True)
    assert target.read_text() == "".join(f"{n} {label}\n" for n, label in expected)
    assert "10 images, 9 background, 1 dog" in said


def test_errors_of_the_tool_are_one_line(root, tmp_path, error_of):
    tool = load_tool(TOOL)
    source, target = root / JSON, tmp_path / "list.txt"
    before = source.read_bytes()
    for arguments, message in [
        ((root / "absent.json", target), "absent.json"),
        ((source, tmp_path / "no/list.txt"), str(tmp_path / "no")),
        ((source, source), f"target {source}"),
    ]:
        assert message in error_of(tool, *arguments)
    assert not target.exists() and source.read_bytes() == before
    coco = json.loads(before)
    coco["images"][3]["file_name"] = "a.jpg 1\nb.jpg"
    source.write_text(json.dumps(coco))
    target.write_text("what was there")
    assert "images[3] has file_name='a.jpg 1\\nb.jpg'" in error_of(tool, source, target)
    assert target.read_text() == "what was there"


def load_config(monkeypatch, root):
    """The config on the files below `root`/coco."""
    monkeypatch.setenv("ATTNPOOL_DATA", str(root))
    cfg = Config.fromfile(CONFIG)
    for name in ("train", "val", "test"):
        cfg[f"{name}_dataloader"].update(num_workers=0, persistent_workers=False)
    return cfg


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_the_config_makes_batches(tmp_path, monkeypatch, name):
    split = "train2017" if name == "train" else "val2017"
    labels = write_coco(tmp_path / "coco", split)
    cfg = load_config(monkeypatch, tmp_path)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        loader = Runner.build_dataloader(cfg[f"{name}_dataloader"], seed=0)
        preprocessor = MODELS.build(
            dict(type="ClsDataPreprocessor", **cfg.data_preprocessor)
        )
        batch = preprocessor(next(iter(loader)))
    assert batch["inputs"].shape == (10, 3, 96, 96)
    for tensor, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
        assert int(sample.gt_label) == labels[Path(sample.img_path).name]
        if name != "train":  # the whole image, in RGB
            mean, std = cfg.data_preprocessor.mean, cfg.data_preprocessor.std
            pixels = cv2.imread(sample.img_path)[..., ::-1].mean((0, 1))
            found = tensor.mean((1, 2)).numpy() * std + mean
            np.testing.assert_allclose(found, pixels, atol=2.5)
    found = [Path(sample.img_path).name for sample in batch["data_samples"]]
    assert (found == list(labels)) == (name != "train")  # only it is shuffled


def test_the_network_of_the_config_is_one_option():
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict({"model.backbone.arch": "resnet18-lip-1222"})
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        classifier = MODELS.build(cfg.model)
    assert classifier.head.fc.weight.shape == (2, 512)


def test_missing_data_is_said_with_its_option(tmp_path, monkeypatch):
    cfg = load_config(monkeypatch, tmp_path)
    coco = tmp_path / "coco"

    def assert_missing(key, path, loader):
        with pytest.raises(ConfigError) as caught:
            preflight.check_data_paths(cfg)
        dataset = f"{loader}_dataloader.dataset"
        assert str(caught.value).startswith(f"{dataset}.{key}: '{path}' ")
        assert f" --cfg-options {dataset}.data_root=" in str(caught.value)

    assert_missing("ann_file", coco / "annotations/instances_train2017.json", "train")
    write_coco(coco, "train2017")
    assert_missing("ann_file", coco / "annotations/instances_val2017.json", "val")
    write_coco(coco, "val2017")
    preflight.check_data_paths(cfg)
    (coco / "train2017").rename(coco / "train")
    assert_missing("data_prefix.img_path", f"{coco}/train2017/", "train")
