import contextlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, DefaultScope
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from sklearn.datasets import load_digits

from attnpool_mm.datasets import (
    ComposedScenes,
    scenes_of,
    split_indices,
    write_composed_coco,
)
from attnpool_mm.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/_base_/datasets/digits_coco.py"
NUM_IMAGES = 12


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("digits_coco")
    for split in ("train", "val"):
        write_digits(out_dir, split, NUM_IMAGES)
    return out_dir


def digit_scenes(split="val", **settings):
    return scenes_of("digits", split, **settings)


def write_digits(out_dir, split, num_images, **settings):
    scenes = digit_scenes(split, **settings)
    return write_composed_coco(scenes, out_dir, num_images, progress=False)[0]


def read_coco(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(path)


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def changed_pixels(scene):
    return (scene.image != scene.background).any(axis=-1)


def test_pycocotools_reads_the_json(root):
    coco = read_coco(root / "annotations/val.json")
    categories = coco.loadCats(coco.getCatIds())
    assert {c["id"]: c["name"] for c in categories} == {
        i + 1: str(i) for i in range(10)
    }
    assert len(coco.getImgIds()) == NUM_IMAGES
    for image in coco.loadImgs(coco.getImgIds()):
        pixels = cv2.imread(str(root / "val" / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3) == (128, 128, 3)
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert 1 <= len(annotations) <= 5
        for annotation in annotations:
            _, _, width, height = annotation["bbox"]
            assert annotation["area"] == width * height
            assert annotation["iscrowd"] == 0
            assert max(width, height) <= 48 and height >= 12


@pytest.mark.parametrize("split", ["train", "val"])
def test_files_hold_the_scenes(root, split):
    coco = read_coco(root / f"annotations/{split}.json")
    scenes = digit_scenes(split)
    for number, image in enumerate(coco.loadImgs(coco.getImgIds())):
        scene = scenes.compose(number)
        bgr = cv2.imread(str(root / split / image["file_name"]))
        np.testing.assert_array_equal(bgr[..., ::-1], scene.image)
        boxes = [a["bbox"] for a in coco.loadAnns(coco.getAnnIds(image["id"]))]
        assert boxes == [a["bbox"] for a in scene.annotations]


@pytest.mark.parametrize(("split", "source"), [("train", "train"), ("val", "test")])
def test_digits_come_from_their_split_with_their_labels(root, split, source):
    coco = read_coco(root / f"annotations/{split}.json")
    annotations = coco.loadAnns(coco.getAnnIds())
    indices = [annotation["digit_index"] for annotation in annotations]
    assert set(indices) <= set(split_indices(source).tolist())
    np.testing.assert_array_equal(
        [annotation["category_id"] - 1 for annotation in annotations],
        load_digits().target[indices],
    )


def test_pixels_show_the_digit_of_the_annotation():
    digits = load_digits().images
    scenes = digit_scenes("train", object_size=(32, 48))
    for number in range(20):
        scene = scenes.compose(number)
        for annotation in scene.annotations:
            x, y, w, h = annotation["bbox"]
            drawn = changed_pixels(scene)[y : y + h, x : x + w]
            digit = digits[annotation["digit_index"]]
            rows, columns = (digit > 6).any(1), (digit > 6).any(0)
            expected = cv2.resize(digit[rows][:, columns], (w, h))
            assert np.corrcoef(drawn.ravel(), expected.ravel())[0, 1] > 0.5


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"image_size": 8, "object_size": (8, 8)},
        {"image_size": 40, "objects_per_image": (12, 12), "object_size": (8, 40)},
        {"image_size": 700, "object_size": (700, 700)},
    ],
)
def test_boxes_are_tight_apart_and_inside(sizes):
    scenes = digit_scenes("val", **sizes)
    size = sizes.get("image_size", 128)
    for number in range(2 if size > 500 else 25):
        scene = scenes.compose(number)
        assert scene.image.shape == scene.background.shape == (size, size, 3)
        assert scene.annotations
        changed = changed_pixels(scene)
        covered = np.zeros((size, size), int)
        for x, y, w, h in (annotation["bbox"] for annotation in scene.annotations):
            assert x >= 0 and y >= 0 and x + w <= size and y + h <= size
            inside = changed[y : y + h, x : x + w]
            assert inside[0].any() and inside[-1].any()
            assert inside[:, 0].any() and inside[:, -1].any()
            covered[y : y + h, x : x + w] += 1
        assert covered.max() == 1
        assert not changed[covered == 0].any()


def test_digits_stand_out_and_vary():
    scenes = digit_scenes("train")
    contrasts, colours, sizes, backgrounds = [], [], set(), set()
    for number in range(40):
        scene = scenes.compose(number)
        backgrounds.add(scene.background.tobytes())
        changed = changed_pixels(scene)
        for annotation in scene.annotations:
            x, y, w, h = annotation["bbox"]
            box = np.s_[y : y + h, x : x + w]
            inside = changed[box]
            image, background = (
                a[box][inside].astype(int) for a in (scene.image, scene.background)
            )
            contrasts.append(np.median(np.abs(image - background).max(axis=-1)))
            colours.append(np.median(image, axis=0))
            sizes.add(h)
    assert min(contrasts) > 60
    assert np.std(colours, axis=0).min() > 50
    assert len(sizes) > 15
    assert len(backgrounds) == 40


def test_same_seed_same_bytes(root, tmp_path):
    for split in ("train", "val"):
        write_digits(tmp_path, split, NUM_IMAGES)
    again, first = files(tmp_path), files(root)
    assert len(again) == 2 * NUM_IMAGES + 2
    assert again == first


def test_another_seed_gives_other_bytes(root, tmp_path):
    write_digits(tmp_path, "val", NUM_IMAGES, seed=1)
    other, first = files(tmp_path), files(root)
    assert not any(other[name] == first[name] for name in other)


def test_splits_do_not_share_backgrounds():
    backgrounds = {
        scenes.compose(number).background.tobytes()
        for scenes in map(digit_scenes, ("train", "val"))
        for number in range(20)
    }
    assert len(backgrounds) == 40


def test_more_images_keep_the_first_ones(root, tmp_path):
    json_path = write_digits(tmp_path, "train", NUM_IMAGES - 5)
    first = files(root)
    for name, data in files(tmp_path / "train").items():
        assert data == first[f"train/{name}"]
    few = json.loads(json_path.read_text())["annotations"]
    many = json.loads(first["annotations/train.json"])["annotations"]
    assert few == many[: len(few)]


def build_dataset(config, split, root):
    dataset_config = config[f"{split}_dataloader"].dataset
    dataset_config.data_root = str(root)
    with contextlib.redirect_stdout(io.StringIO()):
        return DATASETS.build(dataset_config)


@pytest.mark.parametrize("split", ["train", "val"])
def test_base_config_loads_what_was_composed(root, split):
    scenes = digit_scenes(split)
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = build_dataset(Config.fromfile(CONFIG), split, root)
        assert len(dataset) == NUM_IMAGES
        for number in range(NUM_IMAGES):
            item, scene = dataset[number], scenes.compose(number)
            pixels = item["inputs"].numpy().transpose(1, 2, 0)[..., ::-1]
            np.testing.assert_array_equal(pixels, scene.image)
            truth = item["data_samples"].gt_instances
            boxes = [annotation["bbox"] for annotation in scene.annotations]
            np.testing.assert_array_equal(
                truth.bboxes.tensor, [[x, y, x + w, y + h] for x, y, w, h in boxes]
            )
            names = [dataset.metainfo["classes"][label] for label in truth.labels]
            assert names == [str(a["category_id"] - 1) for a in scene.annotations]


@pytest.mark.parametrize(("shift", "score"), [(0, 1), (1, 0)])
def test_base_config_scores_right_and_wrong_labels(root, shift, score):
    config = Config.fromfile(CONFIG)
    config.val_evaluator.ann_file = str(root / "annotations/val.json")
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = build_dataset(config, "val", root)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator = Evaluator(config.val_evaluator)
            evaluator.dataset_meta = dataset.metainfo
            samples = [item["data_samples"] for item in dataset]
            for sample in samples:
                truth = sample.gt_instances
                sample.pred_instances = InstanceData(
                    bboxes=truth.bboxes.tensor,
                    labels=(truth.labels + shift) % 10,
                    scores=torch.ones(len(truth)),
                )
            evaluator.process(samples)
            metrics = evaluator.evaluate(len(samples))
    assert metrics["coco/bbox_mAP"] == pytest.approx(score)


def test_a_run_that_stops_leaves_no_json(tmp_path, monkeypatch):
    json_path = write_digits(tmp_path, "val", 3)
    compose = ComposedScenes.compose

    def stop_at_second(self, number):
        if number == 1:
            raise KeyboardInterrupt
        return compose(self, number)

    monkeypatch.setattr(ComposedScenes, "compose", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        write_digits(tmp_path, "val", 3, seed=1)
    assert not json_path.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("split", "test"),
        ("image_size", 7),
        ("image_size", True),
        ("objects_per_image", (0, 3)),
        ("objects_per_image", (4, 3)),
        ("objects_per_image", 3),
        ("objects_per_image", (1, 2, 3)),
        ("object_size", (-1, 20)),
        ("object_size", (20, 129)),
        ("object_size", (48, 20)),
        ("object_size", (20.0, 30)),
        ("max_occlusion", 1),
        ("max_occlusion", "none"),
        ("seed", -1),
        ("background", "nowhere"),
        ("shared_background", "no"),
    ],
)
def test_bad_settings_are_refused(name, value):
    with pytest.raises(ConfigError) as caught:
        digit_scenes(**{name: value})
    assert str(caught.value).startswith(f"{name}={value!r}: ")


@pytest.mark.parametrize(
    ("name", "value"), [("num_images", 0), ("num_images", 2.5), ("file_format", "gif")]
)
def test_bad_arguments_are_refused_before_anything_is_written(name, value, tmp_path):
    arguments = {"num_images": 1, "progress": False, name: value}
    with pytest.raises(ConfigError) as caught:
        write_composed_coco(digit_scenes(), tmp_path / "out", **arguments)
    assert str(caught.value).startswith(f"{name}={value!r}: ")
    assert not (tmp_path / "out").exists()


def test_progress_bar_only_where_asked_for(tmp_path, capfd):
    write_composed_coco(digit_scenes(), tmp_path, 2, progress=False)
    assert capfd.readouterr() == ("", "")
    write_composed_coco(digit_scenes(), tmp_path, 2)
    assert "2/2" in capfd.readouterr().out
