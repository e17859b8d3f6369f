"""Run the scripts that MMPretrain and MMDetection carry, on a config of either."""

import argparse
import importlib
import runpy
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from mmengine.config import Config

from ..checkpoint import use_safe_loading
from ..utils.errors import ConfigError
from . import launch
from .arguments import check_arguments

TOOLS_FOLDER = Path(".mim", "tools")
TRUST = "--trust-checkpoint"
HELP = {"-h", "--help"}

# Changes a config for a script, checks it, and gives the words that follow it
Prepare = Callable[[Config, list[str]], list[str]]


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


def config_words(usage: str = "CONFIG [options]") -> tuple[Config, list[str]]:
    """The config that comes first on the command line, and the words after it.

    Where these ask for no help, `--cfg-options` are taken out and merged, as
    `tools/train.py` does: not every script has them, and what is checked before a
    script runs is then what it reads.

    Args:
        usage (str): What the error says that is accepted. Default: 'CONFIG [options]'.

    Raises:
        ConfigError: If no readable config comes first, or an option does not fit it.
        SystemExit: Help is asked for without a config: the program's docstring is
            printed, and what lists the options.
    """
    if len(sys.argv) > 1 and sys.argv[1] in HELP:
        print_help(f"CONFIG --help lists the options.\nusage: {sys.argv[0]} {usage}")
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise ConfigError(
            f"usage: {sys.argv[0]} {usage}; those of the script of the "
            "config's framework are accepted, CONFIG --help lists them"
        )
    cfg, words = launch.read_config(sys.argv[1]), sys.argv[2:]
    if not HELP & set(words):
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        launch.add_cfg_options(parser)
        given, words = parser.parse_known_args(words)
        launch.merge_options(cfg, given.cfg_options)
    return cfg, words


def print_help(more: str = "") -> NoReturn:
    """Print the main program's docstring, and a text, and end well."""
    print(sys.modules["__main__"].__doc__, more, sep="\n" if more else "")
    raise SystemExit(0)


def check_scope(cfg: Config, scope: str, instead: str) -> None:
    """Check that a config is one of the framework that a script is for.

    Args:
        cfg (Config): The config.
        scope (str): 'mmpretrain' or 'mmdet'.
        instead (str): What the message ends with: what there is for the others.

    Raises:
        ConfigError: If it is of the other one.
    """
    if cfg.default_scope != scope:
        kind = "classifiers" if scope == "mmpretrain" else "detectors"
        raise ConfigError(
            f"config {cfg.filename}: default_scope={cfg.default_scope!r}; this tool is "
            f"for {kind}{instead}"
        )


def options_of(words: list[str], *names: str) -> dict[str, str | None]:
    """The values of some options of a script, as `--name value` or `--name=value`.

    Args:
        words (list[str]): The words of the command line.
        *names (str): The options, without the dashes.

    Returns:
        Name → value, the last of several; None where the option is not given.

    Example:
        >>> words = ['a.pkl', '--ann=b.json', '--topk', '3', '--ann', 'c.json']
        >>> options_of(words, 'ann', 'out')
        {'ann': 'c.json', 'out': None}
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(f"--{name}", dest=name, nargs="?", const="")
    given, _ = parser.parse_known_args(words)
    return {name: getattr(given, name) for name in names}


def run_config_tool(
    *names: str,
    package: str | None = None,
    prepare: Prepare | None = None,
    partial: bool = False,
) -> None:
    """Run a framework's script with the words of the command line, a config first.

    The script reads a copy of the config whose `visualizer` names no scope:
    MMPretrain's `browse_dataset.py` cannot build an inherited one otherwise. Where it
    loads a checkpoint, that must be one of the config's model.

    Args:
        *names (str): Where the script may be below the framework's tools folder.
        package (str | None): The framework. Default: the config's, which its default
            scope names.
        prepare (Prepare | None): Is called with the config, whose keys have been
            checked and which it may change, and the words after it; returns those for
            the script. Not where help is asked for. Default: None.
        partial (bool): Whether a checkpoint may lack some weights, as what a training
            starts from. Default: False.

    Raises:
        ConfigError: If no readable config comes first, there is no such script, or a
            file is not there that it opens.
    """
    cfg, words = config_words()
    path = Path(sys.argv[1])
    script = find_tool(package or cfg.default_scope, names)
    if prepare is not None and not HELP & set(words):
        check_arguments(cfg)
        words = prepare(cfg, words)
    (cfg.get("visualizer") or {}).pop("_scope_", None)
    fit = dict(type="attnpool_mm.CheckpointFitHook", partial=partial)
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), fit]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name).with_suffix(".py")
        cfg.dump(copy)
        run_tool(script, [str(copy), *words])


def run_tool(script: Path, arguments: Sequence[str]) -> None:
    """Run a framework's script as the main program, checkpoints loaded as data.

    Args:
        script (Path): As `find_tool` finds it.
        arguments (Sequence[str]): Its words. With `--trust-checkpoint` among them,
            which it does not get, checkpoints may run code.

    Raises:
        ConfigError: If a file is not there that it opens.
    """
    use_safe_loading(TRUST in arguments)
    sys.argv = [str(script), *(word for word in arguments if word != TRUST)]
    mim = next(
        parent for parent in script.parents if parent.name == TOOLS_FOLDER.parts[0]
    )
    # As Python does, and for scripts that import one another as `tools.…`
    sys.path[:] = [str(script.parent), *sys.path, str(mim)]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from error
