"""Plot what a training logged, or average its time.

    python tools/analysis_tools/analyze_logs.py plot_curve WORK_DIR --keys loss --out P
    python tools/analysis_tools/analyze_logs.py cal_train_time WORK_DIR

MMPretrain's script, or MMDetection's, with its options; a work folder stands for the
logs of its training, the runs that resumed it included. The λ of SPEM are left out:
`plot_spem.py` draws them.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from attnpool_mm.analysis.logs import LAMBDA, LOGS, read_run, read_work_dir
from attnpool_mm.engine import launch
from attnpool_mm.engine.framework_tools import (
    HELP,
    find_tool,
    options_of,
    print_help,
    run_tool,
)
from attnpool_mm.utils.checks import nearest
from attnpool_mm.utils.errors import ConfigError

SCRIPT = "analysis_tools/analyze_logs.py"


def read_log(path: Path) -> list[dict]:
    """The records of a log, or of the runs in a work folder.

    Those of λ, which MMPretrain takes for metrics, are left out, and so is half a line
    at the end, as a killed training may leave.
    """
    if path.is_dir():
        records = read_work_dir(path)
    elif path.is_file():
        records = read_run(path)
    else:
        raise ConfigError(f"{path}: there is no such file")
    return [
        record
        for _, record in records
        if not any(key.startswith(LAMBDA) for key in record)
    ]


def scope_of(path: Path) -> str:
    """The framework of a log, by the config that MMEngine writes beside it."""
    log = max(path.glob(LOGS)) if path.is_dir() else path
    config = log.with_name("config.py")
    if path.is_dir() and not config.is_file():  # a test leaves none
        config = max(path.glob(str(Path(LOGS).with_name("config.py"))), default=config)
    return launch.read_config(str(config)).default_scope


def write_log(records: Sequence[dict], folder: Path) -> str:
    """Write a log for the framework's script; return its path."""
    folder.mkdir()
    copy = folder / "scalars.json"
    copy.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return str(copy)


def check_keys(keys: Sequence[str], logs: Sequence[list[dict]], scope: str) -> None:
    """Check that a log has the keys of a curve.

    Raises:
        ConfigError: It has not.
    """
    for log in logs:
        known = {name for record in log for name in record}
        if scope == "mmdet":
            known |= {bare(name) for name in known}
        for key in keys:
            if key not in known:
                hint = nearest(key, known)
                raise ConfigError(f"--keys {key}: it is not logged; {hint}")


def bare(key: str) -> str:
    """A key as MMDetection's script has it: without the metric's name before it."""
    return key.rpartition("/")[2]


def first_epoch(keys: Sequence[str], log: Sequence[dict]) -> int:
    """Which of the epochs in a log, counted from 1, is the first to have the keys.

    MMDetection's script, which asks for it, takes the first record of an epoch for
    the last of the epoch before.
    """
    epochs: dict[int, set[str]] = {}
    epoch = 1
    for record in log:
        if len(record) > 1:
            epochs.setdefault(epoch, set()).update(map(bare, record))
        epoch = record.get("epoch", epoch)
    complete = [set(keys) <= names for names in epochs.values()]
    return complete.index(True) + 1 if any(complete) else 1


def curve_options(options: list[str], logs: Sequence[list[dict]], scope: str) -> list:
    """The options of `plot_curve` as the framework's script understands them.

    Raises:
        ConfigError: As in `check_keys`.
    """
    first = options.index("--keys") + 1 if "--keys" in options else len(options)
    last = first
    while last < len(options) and not options[last].startswith("-"):
        last += 1
    keys = options[first:last]
    check_keys(keys, logs, scope)
    if scope != "mmdet":
        return options
    keys = [bare(key) for key in keys]
    options = [*options[:first], *keys, *options[last:]]
    given = options_of(options, "eval-interval", "style")
    if given["eval-interval"] is None:
        keys = keys or ["bbox_mAP"]  # its default
        interval = max(first_epoch(keys, log) for log in logs)
        options += ["--eval-interval", str(interval)]
    # Theirs, 'dark', is seaborn's, which OpenMMLab's script uses; OneDL's does not
    script = find_tool("mmdet", [SCRIPT]).read_text()
    if given["style"] is None and "seaborn" not in script:
        options += ["--style", "default"]
    return options


def run(folder: Path) -> None:
    """Run the framework's script on copies of the logs."""
    task, *words = sys.argv[1:] or [""]
    # The logs come after the task and before the first option
    count = next((i for i, w in enumerate(words) if w.startswith("-")), len(words))
    paths, options = [Path(word) for word in words[:count]], words[count:]
    if not paths:
        usage = f"usage: {sys.argv[0]} plot_curve|cal_train_time WORK_DIR [options]"
        if task in HELP:
            print_help(f"plot_curve WORK_DIR --help lists the options.\n{usage}")
        raise ConfigError(usage)
    logs = [read_log(path) for path in paths]
    scopes = {scope_of(path) for path in paths}
    if len(scopes) > 1:
        raise ConfigError("the logs of classifiers and detectors need a call each")
    scope = scopes.pop()
    if task == "plot_curve":
        options = curve_options(options, logs, scope)
    copies = [write_log(log, folder / str(i)) for i, log in enumerate(logs)]
    script = find_tool(scope, [SCRIPT])
    run_tool(script, [task, *copies, *options])


def main() -> None:
    """Run the command line."""
    with launch.one_line_errors(), tempfile.TemporaryDirectory() as folder:
        run(Path(folder))


if __name__ == "__main__":
    main()
