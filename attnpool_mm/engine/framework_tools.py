"""Run the scripts that MMPretrain and MMDetection carry, on a config of either."""

import importlib
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..checkpoint import use_safe_loading
from ..utils.errors import ConfigError
from .launch import read_config

TOOLS_FOLDER = Path(".mim", "tools")


def find_tool(package: str, names: Sequence[str]) -> Path:
    """Find a script among the tools that an installed framework carries.

    Args:
        package (str): `mmpretrain` or `mmdet`.
        names (Sequence[str]): Where it may be below the tools folder.

    Raises:
        ConfigError: If the installed package carries none of them.
    """
    folder = Path(importlib.import_module(package).__file__).parent / TOOLS_FOLDER
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(
        f"{folder}: the installed {package} carries no {' or '.join(names)}; a wheel "
        "of OneDL's or OpenMMLab's, not a checkout, has its tools there"
    )


def run_config_tool(*names: str, package: str | None = None) -> None:
    """Run a framework's script with the words of the command line, a config first.

    The script reads a copy of the config whose `visualizer` names no scope:
    MMPretrain's `browse_dataset.py` cannot build an inherited one otherwise. Where it
    loads a checkpoint, that must be one of the config's model.

    Args:
        *names (str): Where the script may be below the framework's tools folder.
        package (str | None): The framework. Default: the config's, which its default
            scope names.

    Raises:
        ConfigError: If no readable config comes first, or there is no such script.
    """
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise ConfigError(
            f"usage: {sys.argv[0]} CONFIG [options]; those of the script of the "
            "config's framework are accepted, CONFIG --help lists them"
        )
    path, *rest = sys.argv[1:]
    cfg = read_config(path)
    script = find_tool(package or cfg.default_scope, names)
    (cfg.get("visualizer") or {}).pop("_scope_", None)
    fit = dict(type="attnpool_mm.CheckpointFitHook")
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), fit]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, Path(path).name).with_suffix(".py")
        cfg.dump(copy)
        run_tool(script, [str(copy), *rest])


def run_tool(script: Path, arguments: Sequence[str]) -> None:
    """Run a framework's script as the main program, checkpoints loaded as data."""
    use_safe_loading()
    sys.argv = [str(script), *arguments]
    runpy.run_path(str(script), run_name="__main__")
