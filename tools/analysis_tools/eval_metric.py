"""Evaluate the predictions that `tools/test.py --out FILE.pkl` wrote.

    python tools/analysis_tools/eval_metric.py CONFIG FILE.pkl

MMDetection's script, which serves classifiers too, with the config's `val_evaluator`.
A pickle is code: load only your own.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from attnpool_mm.engine import launch
from attnpool_mm.engine.framework_tools import run_config_tool

if __name__ == "__main__":
    with launch.one_line_errors():
        run_config_tool("analysis_tools/eval_metric.py", package="mmdet")
