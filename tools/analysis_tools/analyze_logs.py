"""Plot what a training logged, or average its time.

    python tools/analysis_tools/analyze_logs.py plot_curve WORK_DIR --keys loss --out P
    python tools/analysis_tools/analyze_logs.py cal_train_time WORK_DIR

MMPretrain's script, or MMDetection's, with its options; a work folder stands for the
log of its latest training. The λ of SPEM are left out: `plot_spem.py` draws them.
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from attnpool_mm.engine import launch
from attnpool_mm.engine.framework_tools import find_tool, run_tool
from attnpool_mm.utils.errors import ConfigError

LOGS = "*/vis_data/scalars.json"


def find_log(path: Path) -> Path:
    """The log that `path` is, or the latest one with a training in a work folder."""
    logs = sorted(path.glob(LOGS), reverse=True) if path.is_dir() else [path]
    for log in logs:
        if not log.is_file():
            raise ConfigError(f"{log}: there is no such file")
        if '"lr"' in log.read_text():
            return log
    raise ConfigError(f"{path}: {LOGS} with a training's records is expected there")


def scope_of(log: Path) -> str:
    """The framework of a log, by the config that MMEngine writes beside it."""
    return launch.read_config(str(log.with_name("config.py"))).default_scope


def without_lambda(log: Path, folder: Path) -> Path:
    """The log, or a copy without the records of λ, which MMPretrain takes for metrics.

    Nor does the copy have half a line, as a killed training may leave.
    """
    lines = []
    written = log.read_text().splitlines()
    for line in written:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if not any(key.startswith("spem_lambda/") for key in record):
            lines.append(line)
    if lines == written:
        return log
    folder.mkdir()
    copy = folder / log.name
    copy.write_text("".join(f"{line}\n" for line in lines))
    return copy


def run(folder: Path) -> None:
    """Run the framework's script on copies of the logs."""
    arguments = sys.argv[1:]
    logs = {}
    # The logs come after the task and before the first option
    for i, word in enumerate(arguments[1:], start=1):
        if word.startswith("-"):
            break
        logs[i] = find_log(Path(word))
    if not logs:
        raise ConfigError(
            f"usage: {sys.argv[0]} plot_curve|cal_train_time WORK_DIR [options]"
        )
    scopes = {scope_of(log) for log in logs.values()}
    if len(scopes) > 1:
        raise ConfigError("the logs of classifiers and detectors need a call each")
    for i, log in logs.items():
        arguments[i] = str(without_lambda(log, folder / str(i)))
    scope = scopes.pop()
    if scope == "mmdet" and arguments[0] == "plot_curve" and "--style" not in arguments:
        arguments += ["--style", "default"]  # theirs, 'dark', matplotlib has no more
    run_tool(find_tool(scope, ["analysis_tools/analyze_logs.py"]), arguments)


def main() -> None:
    """Run the command line."""
    with launch.one_line_errors(), tempfile.TemporaryDirectory() as folder:
        run(Path(folder))


if __name__ == "__main__":
    main()
