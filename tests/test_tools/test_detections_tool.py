"""`tools/visualization/detections.py`: what it writes, errors in one line."""

import json

import numpy as np
import pytest
from PIL import Image
from tool_modules import load_tool

BOX = [10, 10, 20, 20]
FOUND = dict(image_id=1, category_id=1, score=0.9, bbox=BOX)


@pytest.fixture
def folder(tmp_path):
    truth = dict(
        images=[dict(id=1, file_name="1.png", width=100, height=50)],
        annotations=[
            dict(id=1, image_id=1, category_id=1, bbox=BOX, area=400, iscrowd=0)
        ],
        categories=[dict(id=1, name="cat")],
    )
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    del truth["annotations"][0]["iscrowd"]
    (tmp_path / "no_crowds.json").write_text(json.dumps(truth))
    Image.fromarray(np.zeros((50, 100, 3), np.uint8)).save(tmp_path / "1.png")
    return tmp_path


def words(folder, found=FOUND, truth="truth.json", out="out"):
    (folder / "found.json").write_text(json.dumps([found]))
    names = ("found.json", truth)
    return [*(folder / name for name in names), folder, f"--out-dir={folder / out}"]


def test_a_picture_and_its_caption(folder, output_of, tools_undone):
    output_of(load_tool("visualization/detections.py"), *words(folder))
    captions = json.loads((folder / "out" / "captions.json").read_text())
    assert captions == {"best_1.jpg": "1.png: 1 of 1 found"}
    assert Image.open(folder / "out" / "best_1.jpg").width == 2 * 5 * 100 + 8


@pytest.mark.parametrize(
    "change, options, named",
    [
        (dict(found={**FOUND, "score": "high"}), [], "score='high'"),
        (dict(found={**FOUND, "bbox": [1, 2]}), [], "bbox=[1, 2]"),
        (dict(found={**FOUND, "category_id": 7}), [], "category of id 7"),
        (dict(truth="1.png"), [], "1.png"),
        (dict(truth="no_crowds.json"), [], "iscrowd"),
        (dict(out="1.png"), [], "--out-dir"),
        ({}, ["--score=nan"], "--score=nan"),
        ({}, ["--iou=3"], "--iou=3"),
    ],
)
def test_errors_are_one_line(folder, error_of, tools_undone, change, options, named):
    error = error_of(
        load_tool("visualization/detections.py"), *words(folder, **change), *options
    )
    assert named in error
    assert not (folder / "out").exists()
