"""`benchmark_pooling.py` measures, and writes the tables of the documentation."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "analysis_tools" / "benchmark_pooling.py"
PAGE = ROOT / "docs" / "speed.md"
TINY = ("--sizes", "16x8x8:2", "--repeats", "1", "--threads", "1")


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location(TOOL.stem, TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tool, monkeypatch, capsys):
    monkeypatch.setattr(
        tool, "machine_speed", lambda device: dict(matmul_gflops=100, copy_gbytes=20)
    )
    threads = torch.get_num_threads()

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        tool.main()
        return capsys.readouterr().out

    yield run
    torch.set_num_threads(threads)


def test_every_pool(tool, run, tmp_path):
    path = tmp_path / "measured.json"
    output = run(*TINY, "--json", path)
    measured = json.loads(path.read_text())
    results = measured["results"]
    assert [(r["layer"], r["mode"]) for r in results] == [
        (name, mode) for name in tool.POOLS for mode in ("inference", "training")
    ]
    assert (measured["threads"], measured["repeats"]) == (1, 1)
    for r in results:
        assert r["size"] == [2, 16, 8, 8]
        assert set(r["median_ms"]) == {"layer", "plain", "convolution"}
        for name, value in r["median_ms"].items():
            assert value > 0 and r["peak_bytes"][name] > 0
            assert r["time_ratio"][name] == value / r["median_ms"]["layer"]
        assert all(cell in output for cell in tool.row(r))
        values = 2 * 16 * (8 * 8 + 4 * 4)  # of input and output, float32
        assert r["minimum_bytes"] == 4 * values * (1 + (r["mode"] == "training"))
        flops = r["flops"] or 0  # at 100 GFLOP/s and 20 GB/s
        bytes_ms, flops_ms = r["minimum_bytes"] / 20e6, flops / 100e6
        assert r["limit_ms"] == pytest.approx(max(bytes_ms, flops_ms))


@pytest.mark.parametrize("layers, names", [
    ("spem", ["spem"]), ("dynamic", ["dynamic_1x1", "dynamic_3x3"]),
])  # fmt: skip
def test_other_layers_without_the_plain_formula(run, tmp_path, layers, names):
    path = tmp_path / "measured.json"
    run(*TINY, "--layers", layers, "--no-plain", "--json", path)
    results = json.loads(path.read_text())["results"]
    assert list(dict.fromkeys(r["layer"] for r in results)) == names
    assert all(set(r["median_ms"]) == {"layer", "convolution"} for r in results)


def test_the_page_has_what_was_measured(tool, run, tmp_path):
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


def test_the_file_has_the_targets(tool):
    measured = json.loads((PAGE.parent / "benchmarks/pooling_cpu.json").read_text())
    assert measured["threads"] == 2
    results = {(r["layer"], tuple(r["size"]), r["mode"]) for r in measured["results"]}
    for name in tool.POOLS:
        for size in map(tool.parse_size, tool.SIZES["pooling"]):
            assert {(name, size, "inference"), (name, size, "training")} <= results


@pytest.mark.parametrize("arguments, message", [
    (("--sizes", "16x8"), "--sizes 16x8: CxHxW"),
    (("--sizes", "16x0x8"), "--sizes 16x0x8: CxHxW"),
    (("--pools", "nlq"), "--pools nlq: accepted are nlp, "),
    (("--pools", "nlp", "--layers", "spem"), "--pools with --layers spem"),
    (("--repeats", "0"), "--repeats 0: an integer"),
    (("--threads", "0"), "--threads 0: an integer"),
    (("--json", "nowhere/x.json"), "its folder does not exist"),
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
    command = [sys.executable, TOOL, "--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: --device cuda: PyTorch finds no GPU\n"
