"""What is wrong with a config file, and in which line of which file."""

import shlex
import traceback
from pathlib import Path

from .errors import ConfigError

ACCEPTED = (".py", ".json", ".yaml", ".yml")
CARRIED = Path(__file__).parents[1] / ".mim"


def config_error(path: str, error: Exception) -> ConfigError:
    """The error of a config file as one line with the file and the line.

    Args:
        path (str): The file that was asked for; the error may be in one that it
            inherits.
        error (Exception): What reading it raised.

    Example:
        >>> str(config_error('a.py', OSError('there is no such file')))
        'config a.py: there is no such file'
    """
    text = " ".join(str(error).split())
    if isinstance(error, RecursionError):
        text = "its _base_ leads back to the file itself"
    elif isinstance(error, SyntaxError):
        text = error.msg
    elif isinstance(error, KeyError):
        text = " ".join(str(error.args[0]).split()) if error.args else ""
    file, line = _place(path, error)
    if isinstance(error, ImportError) and isinstance(error.__cause__, ImportError):
        text = f"custom_imports: {error.__cause__}"  # MMEngine's lists the search path
    named = isinstance(error, AttributeError | KeyError | NameError)
    if named or (line is not None and not isinstance(error, OSError | SyntaxError)):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if not CARRIED.is_dir() and str(Path(*CARRIED.parts[-2:])) in text:
        setup = shlex.quote(str(CARRIED.parents[1] / "setup.py"))
        text += f"; this checkout is not installed: run python {setup} --version once"
    where = path if file is None else f"{path}, in {file}"
    where += "" if line is None else f", line {line}"
    return ConfigError(f"config {where}: {text or type(error).__name__}")


def _place(path: str, error: Exception) -> tuple[str | None, int | None]:
    """The inherited file, or None for the file itself, and the line in it."""
    read, line = [path], None
    for frame, number in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        file = frame.f_locals.get("filename")
        if Path(name).suffix in ACCEPTED and frame.f_code.co_name == "<module>":
            read, line = [*read, name], number
        elif frame.f_code.co_name in ("_file2dict", "_parse_lazy_import"):
            read, line = [*read, str(file)], None
    if isinstance(error, SyntaxError):
        line = error.lineno
    file = read[-1]
    same = Path(file).expanduser().resolve() == Path(path).expanduser().resolve()
    return (None if same else file), line
