"""Composed scenes of cutouts: sizes, boxes, what hides what, what is shared."""

from collections import Counter

import numpy as np
import pytest
from data_files import CLASS_COLOURS, write_class_folders

from attnpool_mm.datasets import scenes_of
from attnpool_mm.datasets.composed_files import coco_size


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_class_folders(tmp_path_factory.mktemp("things") / "things")


@pytest.fixture(scope="module")
def made(folder):
    """150 images of the usual settings, on noise."""
    scenes = scenes_of("folder", "val", folder, background="noise")
    return [scenes.compose(number) for number in range(150)]


def pixels_of(scene, name):
    """Where the pixels have the colour of the class."""
    return (scene.image == CLASS_COLOURS[name]).all(axis=-1)


def test_all_of_cocos_sizes_are_frequent(made):
    areas = [w * h for scene in made for *_, w, h in
             (a["bbox"] for a in scene.annotations)]  # fmt: skip
    shares = Counter(coco_size(area) for area in areas)
    assert len(areas) > 450
    assert min(shares[name] for name in ("small", "medium", "large")) > 40
    limits = {"small": (0, 1024), "medium": (1024, 9216), "large": (9216, 160**2)}
    assert all(limits[coco_size(a)][0] <= a < limits[coco_size(a)][1] for a in areas)


def test_boxes_are_the_extents_of_what_is_pasted(folder):
    scenes = scenes_of("folder", "train", folder, objects_per_image=(1, 1))
    for number in range(40):
        scene = scenes.compose(number)
        (annotation,) = scene.annotations
        x, y, w, h = annotation["bbox"]
        shape = pixels_of(scene, ("blue", "red")[annotation["category_id"] - 1])
        rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
        # where the edge falls between two pixels it is blended with what is behind
        np.testing.assert_allclose(rows[[0, -1]], [y, y + h - 1], atol=1)
        np.testing.assert_allclose(columns[[0, -1]], [x, x + w - 1], atol=1)
        changed = (scene.image != scene.background).any(axis=-1)
        assert changed[[y, y + h - 1]].any(1).all()
        assert changed[:, [x, x + w - 1]].any(0).all()
        changed[y : y + h, x : x + w] = False
        assert not changed.any()


@pytest.mark.parametrize("limit", [0, 0.3, 0.6])
def test_no_box_is_covered_more_than_the_limit(folder, limit):
    scenes = scenes_of("folder", "train", folder, max_occlusion=limit,
                       objects_per_image=(6, 6))  # fmt: skip
    worst = 0
    for number in range(40):
        top = np.full((160, 160), -1)
        boxes = [a["bbox"] for a in scenes.compose(number).annotations]
        for index, (x, y, w, h) in enumerate(boxes):
            top[y : y + h, x : x + w] = index
        for index, (_, _, w, h) in enumerate(boxes):
            worst = max(worst, (w * h - (top == index).sum()) / (w * h))
    assert limit * 0.8 <= worst <= limit


def test_a_small_image_keeps_its_colours(made):
    for scene in made[:30]:
        x, y, w, h = scene.annotations[-1]["bbox"]  # nothing covers it
        name = ("blue", "red")[scene.annotations[-1]["category_id"] - 1]
        assert pixels_of(scene, name)[y : y + h, x : x + w].mean() > 0.6


def test_splits_share_no_picture_and_no_object(folder):
    train, val = (scenes_of("folder", split, folder) for split in ("train", "val"))
    for ours, theirs in zip(train._pictures, val._pictures, strict=True):
        assert ours.shape[1] + theirs.shape[1] == 640
    used = [
        {a["object_index"] for number in range(30)
         for a in scenes.compose(number).annotations}
        for scenes in (train, val)
    ]  # fmt: skip
    assert used == [set(train.objects.indices), set(val.objects.indices)]
    assert not used[0] & used[1]
