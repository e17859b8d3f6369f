"""`benchmark_pooling.py` measures, and writes the tables of the documentation."""

import json
import subprocess
import sys
from pathlib import Path

import benchmark_cases
import pytest
import torch
from benchmark_tables import OTHERS, row
from tool_modules import load_tool

ROOT = Path(__file__).parents[2]
TOOL = "benchmarks/benchmark_pooling.py"
PAGE = ROOT / "docs" / "speed.md"
DATA = PAGE.parent / "benchmarks" / "cpu.json"
TINY = ("--sizes", "16x8x8:2", "--repeats", "1", "--threads", "1")
ALL = [name for names in benchmark_cases.LAYERS.values() for name in names]


@pytest.fixture(scope="module")
def tool():
    return load_tool(TOOL)


@pytest.fixture
def run(tool, monkeypatch, capsys):
    threads = torch.get_num_threads()

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [TOOL, *map(str, arguments)])
        tool.main()
        return capsys.readouterr().out

    yield run
    torch.set_num_threads(threads)


def test_every_layer(run, tmp_path):
    path, page = tmp_path / "measured.json", tmp_path / "page.md"
    page.write_text("<!-- benchmark: measured.json spem -->\n<!-- end -->\nrest")
    output = run(*TINY, "--json", path, "--page", page)
    measured = json.loads(path.read_text())
    assert (measured["threads"], measured["repeats"]) == (1, 1)
    results = measured["results"]
    assert [(r["layer"], r["mode"]) for r in results] == [
        (name, mode) for name in ALL for mode in ("inference", "training")
    ]
    for r in results:
        assert r["size"] == [2, 16, 8, 8]
        assert {"layer", "convolution"} <= set(r["median_ms"]) == set(r["peak_bytes"])
        assert all(v > 0 for k in ("median_ms", "peak_bytes") for v in r[k].values())
        assert all(cell in output for cell in row(r, ["plain", "convolution"]))
    with_plain = {r["layer"] for r in results if "plain" in r["median_ms"]}
    formulas = {"lip", "lip_original", "gaussian_pool", "spem"}  # by themselves
    assert with_plain == set(ALL) - formulas
    assert page.read_text().count("| spem |") == 2


def test_ratios_are_those_of_the_other_to_the_layer():
    result = dict(
        layer="lip",
        size=[2, 3, 4, 5],
        mode="training",
        median_ms=dict(layer=2.0, convolution=1.0),
        peak_bytes=dict(layer=4e6, convolution=6e6),
    )
    assert row(result, ["plain", "convolution"]) == (
        "lip", "2×3×4×5", "training", "2.0", "–", "0.50×", "4.0", "–", "1.50×"
    )  # fmt: skip


def test_channels_last_is_what_runs(tool, run, monkeypatch):
    seen = []

    def note(layer, x, convolution, *args, **kwargs):
        seen.extend((x, convolution.weight))
        return measure(layer, x, convolution, *args, **kwargs)

    measure = tool.measure_layer
    monkeypatch.setattr(tool, "measure_layer", note)
    run(*TINY, "--layers", "lip", "--no-plain")
    assert all(t.is_contiguous() for t in seen)
    seen.clear()
    run(*TINY, "--layers", "lip", "--no-plain", "--channels-last")
    assert seen and all(
        t.is_contiguous(memory_format=torch.channels_last) for t in seen
    )
    assert not any(t.is_contiguous() for t in seen)


def test_sizes_of_each_group(tool):
    todo = tool.cases(["spem", "lip"], None)
    sizes = benchmark_cases.SIZES
    assert [f"{n} {c}x{h}x{w}:{b}" for n, (b, c, h, w) in todo] == [
        *(f"lip {size}" for size in sizes["pooling"]),
        *(f"spem {size}" for size in sizes["spem"]),
    ]


@pytest.mark.slow
def test_compiled_layers(run, tmp_path):
    path = tmp_path / "measured.json"
    layers = ("--layers", "nlp", "spem", "--compile", "nlp")
    output = run(*TINY, *layers, "--json", path)
    for r in json.loads(path.read_text())["results"]:
        assert ("compiled" in r["median_ms"]) == (r["layer"] == "nlp")
        assert all(cell in output for cell in row(r, OTHERS))
    assert "time: compiled" in output


def test_the_page_has_what_was_measured(run, tmp_path):
    copy = tmp_path / "benchmarks" / DATA.name
    copy.parent.mkdir()
    copy.write_text(DATA.read_text())
    page = tmp_path / "speed.md"
    for text in (PAGE.read_text(), PAGE.read_text().replace("56 | training |", "x |")):
        page.write_text(text)
        run("--page", page)
        assert page.read_text() == PAGE.read_text()


def test_the_measurement_is_whole_and_all_of_it_is_on_the_page():
    measured = json.loads(DATA.read_text())
    assert measured["threads"] == 2 and not measured["channels_last"]
    assert [(r["layer"], r["size"], r["mode"]) for r in measured["results"]] == [
        (name, list(benchmark_cases.parse_size(size)), mode)
        for group, names in benchmark_cases.LAYERS.items()
        for size in benchmark_cases.SIZES[group]
        for name in names
        for mode in ("inference", "training")
    ]
    for group in benchmark_cases.LAYERS:
        assert f"<!-- benchmark: benchmarks/{DATA.name} {group} -->" in PAGE.read_text()


@pytest.mark.parametrize("arguments, message", [
    (("--sizes", "16x8"), "--sizes 16x8"),
    (("--sizes", "16x0x8"), "--sizes 16x0x8"),
    (("--layers", "nlq"), "--layers nlq"),
    (("--compile", "nlq"), "--compile nlq"),
    (("--repeats", "0"), "--repeats 0"),
    (("--threads", "0"), "--threads 0"),
    (("--json", "/dev/null/x.json"), "--json /dev/null/x.json"),
    (("--page", "nowhere.md"), "--page nowhere.md"),
    (("--page", str(ROOT / "LICENSE")), "LICENSE"),
])  # fmt: skip
def test_errors_are_one_line(run, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and message in error
    assert error.startswith("error: ") and "\n" not in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_as_a_program():
    command = [sys.executable, ROOT / "tools" / TOOL, "--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: --device cuda: PyTorch finds no GPU\n"
