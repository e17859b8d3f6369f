"""`benchmark_pooling.py` measures, and writes the tables of the documentation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tool_modules import load_tool

from attnpool_mm.analysis import benchmark_cases
from attnpool_mm.analysis.benchmark_tables import OTHERS, row

ROOT = Path(__file__).parents[2]
TOOL = "analysis_tools/benchmark_pooling.py"
PAGE = ROOT / "docs" / "speed.md"
TINY = ("--sizes", "16x8x8:2", "--repeats", "1", "--threads", "1")
SPEED = dict(matmul_gflops=100, narrow_gflops=80, copy_gbytes=20, exp_gvalues=1)


@pytest.fixture(scope="module")
def tool():
    return load_tool(TOOL)


@pytest.fixture
def run(tool, monkeypatch, capsys):
    monkeypatch.setattr(tool, "machine_speed", lambda device: SPEED)
    threads = torch.get_num_threads()

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [TOOL, *map(str, arguments)])
        tool.main()
        return capsys.readouterr().out

    yield run
    torch.set_num_threads(threads)


def test_every_pool(run, tmp_path):
    path = tmp_path / "measured.json"
    output = run(*TINY, "--json", path)
    measured = json.loads(path.read_text())
    results = measured["results"]
    assert [(r["layer"], r["mode"]) for r in results] == [
        (name, mode)
        for name in benchmark_cases.POOLS
        for mode in ("inference", "training")
    ]
    assert (measured["threads"], measured["repeats"]) == (1, 1)
    for r in results:
        assert r["size"] == [2, 16, 8, 8]
        assert set(r["median_ms"]) == {"layer", "plain", "convolution"}
        for name, value in r["median_ms"].items():
            assert value > 0 and r["peak_bytes"][name] > 0
            assert r["time_ratio"][name] == value / r["median_ms"]["layer"]
        assert all(cell in output for cell in row(r, ["plain", "convolution"]))
        assert 1 <= len(r["operators"]) <= 5 and 0 < sum(r["operators"].values()) <= 1
        values = 2 * 16 * (8 * 8 + 4 * 4)  # of input and output, float32
        assert r["minimum_bytes"] == 4 * values * (1 + (r["mode"] == "training"))
        flops = r["flops"] or 0  # at 100 GFLOP/s and 20 GB/s
        bytes_ms, flops_ms = r["minimum_bytes"] / 20e6, flops / 100e6
        assert r["limit_ms"] == pytest.approx(max(bytes_ms, flops_ms))


@pytest.mark.parametrize("layers, names", [
    (["weighted", "spem"], ["weighted", "spem"]),
    (["dynamic"], ["dynamic_3x3", "dynamic_1x1", "dynamic_depthwise_3x3"]),
    (["lip", "dynamic_1x1", "nlp"], ["nlp", "lip", "dynamic_1x1"]),
])  # fmt: skip
def test_the_layers_that_are_named(run, tmp_path, layers, names):
    path = tmp_path / "measured.json"
    run(*TINY, "--layers", *layers, "--no-plain", "--channels-last", "--json", path)
    measured = json.loads(path.read_text())
    results = measured["results"]
    assert measured["channels_last"]
    assert list(dict.fromkeys(r["layer"] for r in results)) == names
    assert all(set(r["median_ms"]) == {"layer", "convolution"} for r in results)


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
    output = run(*TINY, "--layers", "weighted", "--compile", "--json", path)
    results = json.loads(path.read_text())["results"]
    for r in results:
        assert set(r["median_ms"]) == {"layer", *OTHERS}
        assert all(cell in output for cell in row(r, OTHERS))
    assert "time: compiled" in output


def test_the_page_has_what_was_measured(run, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    page = tmp_path / "speed.md"
    for path in (PAGE.parent / "benchmarks").glob("*.json"):
        (tmp_path / "benchmarks" / path.name).write_text(path.read_text())
    page.write_text(PAGE.read_text())
    run("--page", page)
    assert page.read_text() == PAGE.read_text()
    page.write_text(PAGE.read_text().replace("56 | training |", "56 | x |"))
    run("--page", page)
    assert page.read_text() == PAGE.read_text()


def test_every_file_is_on_the_page():
    page = PAGE.read_text()
    for path in (PAGE.parent / "benchmarks").iterdir():
        assert f"<!-- benchmark: benchmarks/{path.name} -->" in page


def test_the_files_have_the_targets():
    found = set()
    for path in (PAGE.parent / "benchmarks").glob("*.json"):
        measured = json.loads(path.read_text())
        assert measured["threads"] == 2
        if not measured["channels_last"]:
            found |= {
                (r["layer"], tuple(r["size"]), r["mode"]) for r in measured["results"]
            }
    for name, word, mode, *_ in benchmark_cases.TARGETS:
        assert (name, benchmark_cases.parse_size(word), mode) in found
    for name in benchmark_cases.POOLS:
        for size in map(benchmark_cases.parse_size, benchmark_cases.SIZES["pooling"]):
            assert {(name, size, "inference"), (name, size, "training")} <= found


@pytest.mark.parametrize("arguments, message", [
    (("--sizes", "16x8"), "--sizes 16x8: CxHxW"),
    (("--sizes", "16x0x8"), "--sizes 16x0x8: CxHxW"),
    (("--layers", "nlq"), "--layers nlq: accepted are the groups pooling, "),
    (("--repeats", "0"), "--repeats 0: an integer"),
    (("--threads", "0"), "--threads 0: an integer"),
    (("--json", "/dev/null/x.json"), "--json /dev/null/x.json: it cannot be written"),
    (("--json", str(ROOT)), f"--json {ROOT}: it cannot be written"),
    (("--page", "nowhere.md"), "--page nowhere.md: "),
    (("--page", str(ROOT / "LICENSE")), "it has no <!-- benchmark: FILE -->"),
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
