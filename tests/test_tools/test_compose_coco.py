"""tools/dataset_converters/compose_coco.py."""

import contextlib
import io
import json
import re

import pytest
from data_files import write_class_folders, write_mnist
from mmdet.datasets import CocoDataset
from tool_modules import load_tool

from attnpool_mm.datasets import scenes_of, write_composed_coco

FEW = ("--train-images", 4, "--val-images", 3)


@pytest.fixture
def tool(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNPOOL_DATA", str(tmp_path))
    return load_tool("dataset_converters/compose_coco.py")


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_digits_are_what_the_library_writes(tool, output_of, tmp_path):
    output = output_of(tool, "digits", *FEW)
    for split, count in (("train", 4), ("val", 3)):
        scenes = scenes_of("digits", split)
        write_composed_coco(scenes, tmp_path / "expected", count, progress=False)
        assert f"{count} images in {tmp_path / 'digits_coco' / split}" in output
    assert files(tmp_path / "digits_coco") == files(tmp_path / "expected")


def test_fashion_is_read_by_mmdetection(tool, output_of, tmp_path):
    write_mnist(tmp_path / "fashion-mnist")
    output = output_of(tool, "fashion-mnist", *FEW, "--format", "jpg")
    areas = []
    for split, count in (("train", 4), ("val", 3)):
        with contextlib.redirect_stdout(io.StringIO()):
            dataset = CocoDataset(
                data_root=str(tmp_path / "fashion_coco"),
                ann_file=f"annotations/{split}.json",
                data_prefix=dict(img=f"{split}/"),
                metainfo=dict(classes=tool_classes(tmp_path)),
                test_mode=True,
            )
        assert len(dataset) == count
        path = tmp_path / "fashion_coco" / "annotations" / f"{split}.json"
        written = json.loads(path.read_text())["annotations"]
        read = [dataset.get_data_info(n)["instances"] for n in range(count)]
        boxes = [i["bbox"] for instances in read for i in instances]
        xywh = [[x, y, right - x, bottom - y] for x, y, right, bottom in boxes]
        assert xywh == [annotation["bbox"] for annotation in written]
        areas += [annotation["area"] for annotation in written]
    counts = [sum(map(int, re.findall(rf"(\d+) {name}", output))) for name in
              ("small", "medium", "large")]  # fmt: skip
    assert counts == [
        sum(area < 1024 for area in areas),
        sum(1024 <= area < 9216 for area in areas),
        sum(area >= 9216 for area in areas),
    ]


def tool_classes(folder):
    path = folder / "fashion_coco" / "annotations" / "train.json"
    return [c["name"] for c in json.loads(path.read_text())["categories"]]


def test_a_data_set_is_not_overwritten_unasked(tool, output_of, error_of, tmp_path):
    output_of(tool, "digits", *FEW)
    before = files(tmp_path)
    error = error_of(tool, "digits", *FEW, "--seed", 1)
    assert "train.json" in error and "--overwrite" in error
    assert files(tmp_path) == before
    output_of(tool, "digits", *FEW, "--seed", 1, "--overwrite")
    assert files(tmp_path).keys() == before.keys()
    assert files(tmp_path) != before


def test_a_folder_of_ones_own_is_not_written_over(tool, error_of, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/000000.png").write_bytes(b"mine")
    assert "--overwrite" in error_of(tool, "digits", tmp_path, *FEW)
    assert (tmp_path / "train/000000.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digits", "--object-size", 20, 200], "object_size=(20, 200)"),
        (["digits", "--val-images", 0], "val-images=0"),
        (["digits", "--seed", -1], "seed=-1"),
        (["digits", "--max-occlusion", 2], "max_occlusion=2.0"),
        (["digits", "--background", "nowhere"], "background='nowhere'"),
        (["fashion-mnist"], "dataset-fashion-mnist"),
        (["digits", "--data", "somewhere"], "--data='somewhere'"),
        (["folder"], "out_dir"),
        (["folder", "out", "--data", "nowhere"], "nowhere"),
        (["folder", "birds", "--data", "birds"], "out_dir='birds'"),
        (["folder", ".", "--data", "train"], "out_dir='.'"),
        (["digits", "pics", "--background", "pics"], "out_dir='pics'"),
    ],
)
def test_errors_come_before_anything_is_written(
    arguments,
    words,
    tool,
    error_of,
    tmp_path,
    monkeypatch,
):
    monkeypatch.chdir(tmp_path)
    assert words in error_of(tool, *arguments)
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_a_file(tool, error_of, tmp_path):
    (tmp_path / "out").write_text("")
    assert "out_dir" in error_of(tool, "digits", tmp_path / "out", *FEW)


def test_a_folder_on_noise(tool, output_of, tmp_path):
    root = write_class_folders(tmp_path / "things")
    output_of(tool, "folder", tmp_path / "out", "--data", root, *FEW,
              "--background", "noise", "--image-size", 96, "--object-size", 10, 90,
              "--objects-per-image", 2, 2)  # fmt: skip
    coco = json.loads((tmp_path / "out" / "annotations" / "train.json").read_text())
    assert [c["name"] for c in coco["categories"]] == ["blue", "red"]
    assert {image["width"] for image in coco["images"]} == {96}
    assert len(coco["annotations"]) >= 4
