"""The tools' scripts as modules, for tests that call them in this process."""

import importlib.util
import sys
from pathlib import Path

TOOLS = Path(__file__).parents[1] / "tools"


def load_tool(path):
    """Import a script of `tools/`, e.g. 'misc/config_table.py'."""
    path = TOOLS / path
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module
