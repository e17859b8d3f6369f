"""`get_complexity.py` shows a config's cost; `config_table.py`, that of all."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from tool_modules import load_tool

from attnpool_mm.analysis import measure_complexity
from attnpool_mm.engine.launch import read_config
from attnpool_mm.utils.config import build_for_counting

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "analysis_tools" / "get_complexity.py"
TABLE = ROOT / "tools" / "misc" / "config_table.py"
DIGITS = ROOT / "configs" / "classification" / "digits" / "resnet18-nlp_b64_digits.py"
DETECTOR = ROOT / "configs" / "demo" / "faster-rcnn_resnet18-nlp_fpn_digits-coco.py"


@pytest.fixture(scope="module")
def tool():
    return load_tool(TOOL)


@pytest.fixture(scope="module")
def table_tool():
    return load_tool(TABLE)


@pytest.fixture
def run(tool, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        tool.main()
        return capsys.readouterr().out

    return run


def rows_of(output):
    lines = output.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("---")) + 1
    rows = [line.split() for line in lines[start : lines.index("", start)]]
    return {row[0]: row[1:] for row in rows}


def number(cell):
    return float(cell.replace(",", ""))


def test_a_classifier(run, tmp_path):
    path = tmp_path / "new" / "complexity.json"
    output = run(DIGITS, "--json", path)
    assert "image of 3x32x32: whole model" in output
    rows = rows_of(output)
    stages = [name for name in rows if not name.endswith("pool")]
    assert stages == [
        "backbone.stem", *(f"backbone.layer{i}" for i in range(1, 5)), "neck", "head"
    ]  # fmt: skip
    assert {"backbone.maxpool", "backbone.layer2.pool"} < set(rows)
    model = build_for_counting(read_config(str(DIGITS)))
    cost = measure_complexity(model, (3, 32, 32))
    assert sum(int(number(rows[s][1])) for s in stages) == cost.parameters
    total = sum(number(rows[s][2]) for s in stages)
    assert total == pytest.approx(cost.flops / 1e6, abs=0.005 * len(stages))
    peak = max(rows, key=lambda name: number(rows[name][3]))
    assert cost.peak.module.startswith(peak.replace("stem", ""))
    measured = json.loads(path.read_text())
    assert measured["flops"] == sum(op["flops"] for op in measured["operations"])
    assert measured["peak"]["live_bytes"] == cost.peak.live_bytes
    assert measured["layers"][0]["layer"] == "backbone.stem"


def test_a_detector_and_its_picture(run, tmp_path):
    picture = tmp_path / "live.png"
    output = run(DETECTOR, "--plot", picture, "--bytes", 4)
    assert "backbone and neck; the heads, which need NMS, did not run" in output
    assert "image of 3x128x128" in output and "4 byte(s) a value" in output
    rows = rows_of(output)
    assert rows["rpn_head"][0] == rows["roi_head"][3] == "-"
    total = build_for_counting(read_config(str(DETECTOR)))
    parameters = sum(p.numel() for p in total.parameters())
    listed = [n for n in rows if n.startswith(("backbone.layer", "backbone.stem"))]
    listed = [n for n in listed if not n.endswith("pool")] + [
        "neck", "rpn_head", "roi_head"
    ]  # fmt: skip
    assert sum(int(number(rows[n][1])) for n in listed) == parameters
    image = cv2.imread(str(picture))
    assert image.shape[0] >= 400 and image.shape[1] >= 800
    blue, green, red = 177, 130, 86  # of the filled curve
    filled = (abs(image.astype(int) - (blue, green, red)).max(2) < 12).mean()
    assert 0.05 < filled < 0.7


def test_depth_and_options(run):
    shallow = rows_of(run(DIGITS))
    options = ["--cfg-options", "model.head.num_classes=7"]
    deep = rows_of(run(DIGITS, "--depth", 2, "--shape", 64, 48, *options))
    assert shallow.keys() < deep.keys()
    assert "backbone.layer2.0.conv1" in deep
    assert "backbone.layer2.pool.position" in deep
    inside = [f"backbone.layer2.{child}" for child in ("0", "1", "pool")]
    parameters = int(number(deep["backbone.layer2"][1]))
    assert sum(int(number(deep[name][1])) for name in inside) == parameters
    assert deep["head"][1] == f"{7 * 513:,}"
    assert deep["backbone.stem"][0] == "64x16x12"
    order = list(deep)
    assert order.index("backbone.layer2.0.conv1") < order.index("backbone.layer2.1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.py",), "config nowhere.py"),
        ((DIGITS, "--shape", "3", "4", "5", "6"), "--shape [3, 4, 5, 6]: one to three"),
        ((DIGITS, "--shape", "0"), "each of shape=0"),
        ((DIGITS, "--bytes", "0"), "bytes_per_value=0"),
        ((DIGITS, "--depth", "-1"), "--depth -1"),
        ((DIGITS, "--plot", "x.nothing"), "cannot be written"),
        ((DIGITS, "--json", "/dev/null/x.json"), "cannot be written"),
        ((DIGITS, "--cfg-options", "model.backbone.type=Nothing"), "Nothing"),
        (
            (DIGITS, "--cfg-options", "test_dataloader.dataset.pipeline=[]",
             "train_dataloader.dataset.pipeline=[]"),
            "or say it with --shape",
        ),
    ],
)  # fmt: skip
def test_errors_are_one_line(tool, monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        tool.main()
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and message in error
    assert error.startswith("error: ") and "\n" not in error


def test_as_a_program():
    """Nothing but the line of the error, from PyTorch's loggers either."""
    command = [sys.executable, TOOL, DIGITS, "--shape", "1", "32", "32"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "does not run on it" in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_every_config_has_its_row(table_tool):
    page = (ROOT / "docs" / "configs.md").read_text()
    linked = [line.split("](../")[1].split(")")[0]
              for line in page.splitlines() if line.startswith("| [")]  # fmt: skip
    assert linked == table_tool.config_paths()


@pytest.mark.parametrize("path", [DIGITS, DETECTOR])
def test_rows_are_up_to_date(table_tool, path):
    row = table_tool.config_row(path)
    assert str(row) in (ROOT / "docs" / "configs.md").read_text().splitlines()
    model = build_for_counting(read_config(str(path)))
    assert table_tool.config_row(path, model=model) == row
    assert row.parameters == sum(p.numel() for p in model.parameters())
    cost = measure_complexity(model.backbone, (3, *row.size))
    assert (row.flops, row.peak_bytes) == (cost.flops, cost.peak.live_bytes)


def test_check_names_the_first_row_that_differs(
    table_tool, monkeypatch, capsys, tmp_path
):
    paths = [p.relative_to(ROOT).as_posix() for p in (DIGITS, DETECTOR)]
    page = tmp_path / "configs.md"
    monkeypatch.setattr(table_tool, "config_paths", lambda: paths)
    monkeypatch.setattr(table_tool, "PAGE", page)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(TABLE), *arguments])
        table_tool.main()

    run()
    written = page.read_text()
    assert "## classification/digits" in written and "| 32×32 |" in written
    run("--check")
    page.write_text(written.replace("| 128×128 |", "| 128×127 |"))
    with pytest.raises(SystemExit) as stop:
        run("--check")
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and "\n" not in error
    assert DETECTOR.name in error and "128×127" in error and DIGITS.name not in error
    page.unlink()
    with pytest.raises(SystemExit):
        run("--check")
