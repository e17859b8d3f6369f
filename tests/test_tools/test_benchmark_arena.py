"""`benchmark_arena.py`: what it refuses before it measures."""

import sys

import pytest
from tool_modules import load_tool

pytestmark = pytest.mark.usefixtures("tools_undone")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--micro-python", "no/python"], "make micro"),
        (["--limits", "none", "much"], "--limits='much'"),
        (["--size", "0"], "--size=0"),
    ],
)
def test_options_are_refused_before_any_work(error_of, arguments, said):
    tool = load_tool("benchmarks/benchmark_arena.py")
    given = ["--archs", "resnet18-skip-1222", "--micro-python", sys.executable]
    assert said in error_of(tool, *given, *arguments)
