import json

import numpy as np
import pytest

from attnpool_mm.analysis.detections import (
    RIGHT,
    WRONG,
    best_and_worst,
    caption_of,
    draw_detections,
    judge_images,
)
from attnpool_mm.utils.errors import ConfigError

BOXES = [  # image, class, x, y, width, height
    (1, 1, 10, 10, 20, 20),
    (1, 2, 60, 10, 20, 20),
    (2, 1, 10, 10, 20, 20),
    (3, 1, 10, 10, 20, 20),
]
FOUND = [  # image, class, score, x, y, width, height
    (1, 1, 0.9, 10, 12, 20, 20),  # IoU 18/22
    (1, 1, 0.8, 11, 11, 20, 20),  # the same again
    (1, 2, 0.4, 60, 10, 20, 20),  # not sure enough
    (2, 2, 0.7, 10, 10, 20, 20),  # another class
    (3, 1, 0.6, 10, 22, 20, 20),  # IoU 8/32
]


@pytest.fixture
def ann_file(tmp_path):
    annotations = [
        dict(id=i, image_id=image, category_id=kind, bbox=box, iscrowd=0,
             area=box[2] * box[3])
        for i, (image, kind, *box) in enumerate(BOXES, start=1)
    ]  # fmt: skip
    images = [dict(id=i, file_name=f"{i}.png", width=100, height=50) for i in (1, 2, 3)]
    names = [dict(id=1, name="cat"), dict(id=2, name="dog")]
    path = tmp_path / "truth.json"
    path.write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=names))
    )
    return path


@pytest.fixture
def judged(ann_file):
    results = [
        dict(image_id=image, category_id=kind, score=score, bbox=box)
        for image, kind, score, *box in FOUND
    ]
    return judge_images(ann_file, results)


def test_right_is_of_the_class_and_of_enough_iou(judged):
    first, second, third = judged
    assert [box.right for box in first.truth] == [True, False]
    assert [(b.score, b.right, b.label) for b in first.found] == [
        (0.9, True, "cat"), (0.8, False, "cat"),
    ]  # fmt: skip
    assert first.found[0].corners == (10, 12, 30, 32)
    assert not second.truth[0].right and not second.found[0].right
    assert not third.found[0].right
    assert [image.f1 for image in judged] == [2 * 1 / 4, 0, 0]
    assert caption_of(first) == "1 of 2 found, 1 wrong"


def test_a_lower_iou_may_be_enough(ann_file):
    results = [dict(image_id=3, category_id=1, score=0.6, bbox=[10, 22, 20, 20])]
    assert judge_images(ann_file, results, iou=0.25)[2].hits == 1
    assert judge_images(ann_file, results, iou=0.26)[2].hits == 0


def test_without_a_detection_all_is_missed(ann_file):
    judged = judge_images(ann_file, [])
    assert [image.f1 for image in judged] == [0, 0, 0]
    assert best_and_worst(judged, 2, 2) == ([], [])


def test_an_image_that_is_not_there_is_an_error(ann_file):
    results = [dict(image_id=7, category_id=1, score=0.6, bbox=[10, 22, 20, 20])]
    with pytest.raises(ConfigError, match="id 7"):
        judge_images(ann_file, results)


def test_a_class_that_is_not_there_is_an_error(ann_file):
    results = [dict(image_id=1, category_id=7, score=0.6, bbox=[10, 22, 20, 20])]
    with pytest.raises(ConfigError, match="category of id 7"):
        judge_images(ann_file, results)


@pytest.mark.parametrize(
    "change", [dict(category_id=9), dict(bbox=[10, 10, -5, 5])], ids=str
)
def test_a_truth_that_is_none_is_an_error(ann_file, change):
    truth = json.loads(ann_file.read_text())
    truth["annotations"][0].update(change)
    ann_file.write_text(json.dumps(truth))
    with pytest.raises(ConfigError, match=f"id {truth['annotations'][0]['id']} "):
        judge_images(ann_file, [])


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong(ann_file):
    truth = json.loads(ann_file.read_text())
    truth["annotations"][0].update(iscrowd=1, bbox=[0, 0, 50, 50], area=2500)
    ann_file.write_text(json.dumps(truth))
    results = [
        dict(image_id=1, category_id=kind, score=0.9, bbox=[x, 10, 20, 20])
        for kind, x in ((1, 10), (1, 15), (2, 60))
    ]
    first = judge_images(ann_file, results)[0]
    assert [box.label for box in first.truth] == ["dog"]
    assert [(box.label, box.right) for box in first.found] == [("dog", True)]
    assert first.f1 == 1 and caption_of(first) == "1 of 1 found"


def test_ids_from_zero_are_matched_as_any(ann_file, judged):
    truth = json.loads(ann_file.read_text())
    for annotation in truth["annotations"]:
        annotation["id"] -= 1
    ann_file.write_text(json.dumps(truth))
    results = [
        dict(image_id=image, category_id=kind, score=score, bbox=box)
        for image, kind, score, *box in FOUND
    ]
    assert judge_images(ann_file, results) == judged


def test_best_and_worst_share_no_image(judged):
    best, worst = best_and_worst(judged, 1, 5)
    assert [image.file_name for image in best] == ["1.png"]
    assert [image.file_name for image in worst] == ["2.png", "3.png"]
    assert best_and_worst(judged, 5, 5)[1] == []


def test_the_boxes_are_drawn_on_the_enlarged_image(judged):
    drawn = draw_detections(np.full((50, 100, 3), 128, np.uint8), judged[0])
    scale = 5
    assert drawn.shape[1] == 2 * scale * 100 + 8
    header = drawn.shape[0] - scale * 50
    left = drawn[header:, : scale * 100]
    right = drawn[header:, -scale * 100 :]
    assert tuple(left[scale * 20, scale * 10]) == RIGHT
    assert tuple(left[scale * 20, scale * 60]) == WRONG  # missed
    assert tuple(right[scale * 30, scale * 10]) == RIGHT
    assert tuple(right[scale * 20, scale * 31]) == WRONG
    assert tuple(right[scale * 20, scale * 60]) == (128, 128, 128)
    assert tuple(left[scale * 40, scale * 90]) == (128, 128, 128)
