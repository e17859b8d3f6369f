"""Boxes are counted as MMDetection's `CocoDataset` takes them."""

import json

import numpy as np
import pytest
from mmdet.datasets import CocoDataset

from attnpool_mm.engine.coco_boxes import count_boxes
from attnpool_mm.engine.coco_file import _without_polygons, read_coco

NAMES = ("apple", "pear", "plum", "fig")


def random_content(rng):
    """Images and boxes of which most have something odd."""
    images = [
        dict(id=int(i), file_name=f"{i}.png", width=int(w), height=int(h))
        for i, (w, h) in zip(
            rng.permutation(50)[:12], rng.integers(5, 60, (12, 2)), strict=True
        )
    ]
    values = [-30, -5, 0, 0.4, 1, 3, 10, 55, 200, float("nan"), float("inf")]
    boxes = []
    for number in range(150):
        place = rng.choice(values, 2)
        size = rng.choice(values[:-1], 2)  # an endless size is refused
        boxes.append(
            dict(
                id=number,
                image_id=int(rng.integers(50)) if rng.random() < 0.1
                else images[rng.integers(9)]["id"],
                category_id=int(rng.integers(1, 7)),
                bbox=[float(x) for x in (*place, *size)],
                area=float(rng.choice([-1, 0, 0.5, 9, float("nan")])),
                **({"iscrowd": int(rng.random() < 0.3)} if rng.random() < 0.8 else {}),
                **({"ignore": int(rng.random() < 0.5)} if rng.random() < 0.2 else {}),
            )
        )  # fmt: skip
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(NAMES)]
    return dict(images=images, annotations=boxes, categories=categories)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(filter_cfg=dict(filter_empty_gt=True, min_size=12)),
        dict(filter_cfg=dict(min_size=20), indices=4),
        dict(filter_cfg=dict(filter_empty_gt=True), indices=-3),
        dict(indices=[5, 0, 2]),
    ],
    ids=str,
)
def test_counts_are_those_of_mmdetection(tmp_path, options, seed, capsys):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(random_content(np.random.default_rng(seed))))
    classes = NAMES[: 2 + seed % 3]
    dataset = CocoDataset(
        ann_file=str(path), metainfo=dict(classes=classes), serialize_data=False,
        data_prefix=dict(img=""), **options,
    )  # fmt: skip
    instances = [box for info in dataset.data_list for box in info["instances"]]
    found = count_boxes("x", read_coco("x", str(path)), classes, **options)
    assert found.images == [info["img_id"] for info in dataset.data_list]
    assert found.count == sum(not box["ignore_flag"] for box in instances)
    assert found.left_out


def test_masks_are_left_out_and_nothing_else():
    polygon = [[1.5, 2e-3, -4, 5], [6, 7, 8, 9]]
    rle = dict(counts=[3, 4], size=[5, 6])
    rows = [
        dict(id=1, segmentation=polygon, bbox=[1, 2, 3, 4], note=[[1]]),
        dict(id=2, bbox=[1, 2, 3, 4], segmentation=[]),
        dict(id=3, segmentation=rle, bbox=[5]),
        dict(id=4, segmentation=dict(rle, counts="a]b"), bbox=[5]),
        dict(id=5, note='"segmentation":[1,"', x='"segmentation": [2, 3]', bbox=[6]),
        dict(id=6, bbox=[7], segmentation=None),
        dict(id=7, bbox=[7], segmentation=polygon),
    ]
    content = dict(annotations=rows, categories=[dict(id=[1, 2])], last=[[3]])
    expected = json.loads(json.dumps(content))
    for row in expected["annotations"]:
        if isinstance(row.get("segmentation"), list):
            row["segmentation"] = []
    for layout in ({}, dict(indent=2), dict(separators=(",", ":"))):
        text = json.dumps(content, **layout).encode()
        assert json.loads(_without_polygons(text)) == expected
    assert b"1.5" not in _without_polygons(json.dumps(content).encode())
