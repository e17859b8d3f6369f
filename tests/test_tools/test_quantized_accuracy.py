"""`quantized_accuracy.py`: each pool's classifier in float and in 8 bits."""

import pytest
from tool_modules import load_tool

from attnpool_mm.pooling import pool_names

TOOL = "benchmarks/quantized_accuracy.py"


@pytest.fixture(scope="module")
def tool():
    return load_tool(TOOL)


def types_in(cfg):
    return {cfg["type"]}.union(*(types_in(part) for part in cfg.get("pools", ())))


def test_every_pool_is_among_the_networks(tool):
    found = set().union(*(types_in(case["pool_cfg"]) for case in tool.CASES.values()))
    assert found == set(pool_names())


def test_a_row(tool, output_of):
    arguments = ("--networks", "avgp", "--epochs", 1, "--calibration", 8, "--types")
    head, _, row, types = output_of(tool, *arguments).strip().splitlines()
    cells = dict(zip(head.split(" | "), row.strip("| ").split(" | "), strict=True))
    assert row.startswith("| avgp |") and len(cells) == len(tool.COLUMNS)
    assert 0 < float(cells["error"]) < 0.3
    assert float(cells["float kB"]) > 2 * float(cells["int8 kB |"])
    costs = {kind: float(cost) for kind, cost in map(str.split, types.split(","))}
    assert costs["Conv"] > 0 and list(costs.values()) == sorted(costs.values())[::-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(load_tool(TOOL).CASES))
def test_8_bits_cost_less_than_a_point(tool, tmp_path, name):
    network, before, after, *_ = tool.Measurement(name, 6, 128, tmp_path).row()
    assert network == name and before > 95 and abs(after - before) < 1


@pytest.mark.parametrize("arguments, found", [
    (("--epochs", 0), "--epochs"),
    (("--calibration", 0), "--calibration"),
    (("--calibration", 2000), "--calibration 2000: at most 1437"),
])  # fmt: skip
def test_errors_are_one_line(tool, error_of, arguments, found):
    assert found in error_of(tool, *arguments)
