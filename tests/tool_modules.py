"""The tools' scripts as modules, for tests that call them in this process."""

import importlib.util
import sys
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader

TOOLS = Path(__file__).parents[1] / "tools"


def load_tool(path):
    """Import a script of `tools/`, e.g. 'misc/index_configs.py'."""
    path = TOOLS / path
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def error_of(monkeypatch, capsys):
    """Run a tool that fails; return its error, which is one line."""

    def run(tool, *arguments):
        monkeypatch.setattr(sys, "argv", [tool.__file__, *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            tool.main()
        error = capsys.readouterr().err
        assert stop.value.code == 2
        assert error.startswith("error: ") and error.count("\n") == 1
        return error

    return run


@pytest.fixture
def output_of(monkeypatch, capsys):
    """Run a tool; return what it prints."""

    def run(tool, *arguments):
        monkeypatch.setattr(sys, "argv", [tool.__file__, *map(str, arguments)])
        capsys.readouterr()
        tool.main()
        return capsys.readouterr().out

    return run


@contextmanager
def undone():
    """Undo what a tool leaves in its process: safe loading, paths, a scope."""
    before = torch.serialization.get_safe_globals()
    with pytest.MonkeyPatch.context() as patch:
        schemes = dict(CheckpointLoader._schemes)
        patch.setattr(CheckpointLoader, "_schemes", schemes)
        patch.setattr(DefaultScope, "_instance_dict", OrderedDict())
        patch.setattr(sys, "path", [*sys.path])
        for name in (
            *("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"),
            "LOCAL_RANK",
        ):
            patch.setenv(name, "0")
        patch.delenv("RANK", raising=False)
        try:
            yield patch
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)


@pytest.fixture
def tools_undone():
    """Undo, after the test, what tools have left in this process."""
    with undone():
        yield


def run_tool(path, *arguments):
    """Run a script of `tools/` in this process, outside of a test's function."""
    with undone() as patch:
        tool = load_tool(path)
        patch.setattr(sys, "argv", [tool.__file__, *map(str, arguments)])
        tool.main()
