"""`compare_models.py`: a table of several configs, and a picture."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from matplotlib.text import Text
from tool_modules import load_tool

from attnpool_mm.analysis import measure_complexity
from attnpool_mm.utils.config import build_for_counting
from attnpool_mm.engine.launch import read_config

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "analysis_tools" / "compare_models.py"
DIGITS = ROOT / "configs" / "classification" / "digits"
NLP = str(DIGITS / "resnet18-nlp_b64_digits.py")
SPEM = str(DIGITS / "resnet20-spem_b64_digits.py")
DETECTOR = str(
    ROOT / "configs" / "demo" / "faster-rcnn_resnet18-nlp_fpn_digits-coco.py"
)


@pytest.fixture(scope="module")
def tool():
    return load_tool(TOOL)


@pytest.fixture
def run(tool, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        tool.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def results(tmp_path):
    def write(**numbers):
        path = tmp_path / "results.json"
        path.write_text(json.dumps(numbers))
        return path

    return write


def row(tool, name, memory, flops=1, accuracy=None):
    return tool.Compared(
        name, (3, 8, 8), "forward", 1, flops, memory, 1, None, accuracy
    )


def test_the_numbers_are_those_of_get_complexity(run, tmp_path):
    path = tmp_path / "new" / "compared.json"
    output = run(NLP, DETECTOR, "--bytes", 4, "--json", path)
    lines = output.splitlines()
    assert lines[2].startswith("resnet18-nlp_b64_digits ")
    written = json.loads(path.read_text())
    assert written["bytes_per_value"] == 4
    for config, method, size, line in zip(
        (NLP, DETECTOR),
        ("forward", "extract_feat"),
        ((3, 32, 32), (3, 128, 128)),
        written["configs"],
        strict=True,
    ):
        model = build_for_counting(read_config(config))
        cost = measure_complexity(model, size, 4, method)
        assert line["path"] == config and line["name"] == Path(config).stem
        assert line["parameters"] == sum(p.numel() for p in model.parameters())
        assert (line["flops"], line["shape"]) == (cost.flops, list(size))
        assert line["peak_bytes"] == cost.peak.live_bytes
        assert line["layer_bytes"] == cost.largest_layer.layer_bytes
        assert line["milliseconds"] is line["accuracy"] is None
    assert f"{written['configs'][0]['peak_bytes'] / 1e3:,.1f}" in lines[2].split()
    assert f"parameters: {Path(DETECTOR).stem}" in output  # the heads did not run


def test_time_results_and_markdown(run, results, tmp_path):
    path, picture = tmp_path / "compared.json", tmp_path / "pictures" / "compared.png"
    numbers = results(**{Path(NLP).stem: 98.5, Path(SPEM).name: 97})
    output = run(NLP, SPEM, "--time", "--results", numbers, "--markdown", "--shape", 24,
                 "--json", path, "--plot", picture)  # fmt: skip
    head, rule, first, second = output.splitlines()[:4]
    assert head.startswith("| config ") and head.endswith(" time (ms) | result |")
    assert set(rule) <= set("|-: ") and head.count("|") == second.count("|") == 9
    assert "3x24x24" in first and first.split("|")[-2].strip() == "98.5"
    assert "thread(s)" in output
    written = json.loads(path.read_text())
    assert written["threads"] >= 1
    assert [line["accuracy"] for line in written["configs"]] == [98.5, 97]
    assert all(line["milliseconds"] > 0 for line in written["configs"])
    image = cv2.imread(str(picture))
    assert image.shape[0] >= 400 and image.shape[1] >= 800


@pytest.mark.parametrize("count", [1, 2, 5, 12, 40])
@pytest.mark.parametrize("together", [False, True])
def test_labels_stand_apart(tool, count, together):
    """Every name is inside the picture, over no other and over no point."""
    rows = [
        row(tool, f"resnet18-nlp_headfix2_nowin-{i}_stl10",
            5000 if together else 900 + 37 * i % 11 * 100,
            accuracy=80.0 if together else 80 + 7 * i % 5)
        for i in range(count)
    ]  # fmt: skip
    figure = tool.draw(rows, 1)
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the line
    assert sorted(text.get_text() for text in axes.texts) == sorted(
        r.name for r in rows
    )
    frame, plot = figure.bbox, axes.get_window_extent()
    for i, box in enumerate(boxes):
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1
        assert frame.y0 <= box.y0 and box.y1 <= frame.y1
        assert box.x0 > plot.x1
        assert not any(box.overlaps(other) for other in boxes[:i])
    assert plot.width > 0.3 * frame.width
    points = axes.collections[0].get_offsets()
    assert [(x, y) for x, y in points] == [
        (r.peak_bytes / 1e3, r.accuracy) for r in rows
    ]
    tool.plt.close(figure)


def test_without_results_flops_are_drawn(tool):
    figure = tool.draw([row(tool, "a", 2000, 3e9), row(tool, "b", 1000, 5e9)], 2)
    axes = figure.axes[0]
    assert axes.collections[0].get_offsets().tolist() == [[2, 3], [1, 5]]
    assert "FLOPs" in axes.get_ylabel() and "2 byte" in axes.get_xlabel()
    tool.plt.close(figure)


def test_configs_of_one_file_name_are_called_by_their_paths(run, tmp_path):
    twin = tmp_path / Path(SPEM).name
    twin.write_text(f"_base_ = {SPEM!r}\nmodel = dict(head=dict(num_classes=3))\n")
    lines = run(SPEM, twin).splitlines()
    assert lines[2].startswith(SPEM) and lines[3].startswith(str(twin))


def fails(tool, monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        tool.main()
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2
    assert error.startswith("error: ") and "\n" not in error
    return error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.py",), "config nowhere.py"),
        ((SPEM, SPEM), "it is named twice"),
        ((SPEM, "--shape", 3, 4, 5, 6), "--shape [3, 4, 5, 6]: one to three"),
        ((SPEM, "--shape", 1, 32, 32), f"config {SPEM}: shape=(1, 32, 32)"),
        ((SPEM, "--bytes", 0), "--bytes=0"),
        ((SPEM, "--plot", "x.nothing"), "cannot be written"),
        ((SPEM, "--json", "/dev/null/x.json"), "cannot be written"),
        ((SPEM, "--results", "nowhere.json"), "--results nowhere.json"),
    ],
)  # fmt: skip
def test_errors_are_one_line(tool, monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in fails(tool, monkeypatch, capsys, *arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "--results"),
        ("[1]", "an object with a number for each config"),
        ('{"resnet20-spem_b64_digits": "97"}', "an object with a number"),
        ("{}", "resnet18-nlp_b64_digits.py has no result"),
        ('{"resnet18-nlp_b64_digits": 9, "other": 1}', "'other' is no config that is"),
        ('{"resnet18-nlp_b64_digits": 9, "resnet18-nlp_b64_digits.py": 1}',
         "resnet18-nlp_b64_digits.py has two results"),
    ],
)  # fmt: skip
def test_results_that_do_not_fit(tool, monkeypatch, capsys, tmp_path, text, message):
    path = tmp_path / "results.json"
    path.write_text(text)
    error = fails(tool, monkeypatch, capsys, NLP, SPEM, "--results", path)
    assert message in error and str(path) in error


def test_a_config_that_cannot_be_built(tool, monkeypatch, capsys, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text(f"_base_ = {SPEM!r}\nmodel = dict(backbone=dict(type='No'))\n")
    error = fails(tool, monkeypatch, capsys, SPEM, broken)
    assert f"config {broken}: model: " in error


def test_as_a_program():
    command = [sys.executable, TOOL, SPEM, "nowhere.py"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
