"""Draw which class is taken for which.

    python tools/analysis_tools/confusion_matrix.py CONFIG FILE.pkl --show-path PICTURE
    python tools/analysis_tools/confusion_matrix.py CONFIG FILE.pkl FOLDER

The first for a classifier (a checkpoint instead of predictions works too), the second
for a detector. MMPretrain's script, or MMDetection's, with its options.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from attnpool_mm.engine import launch
from attnpool_mm.engine.framework_tools import run_config_tool

if __name__ == "__main__":
    with launch.one_line_errors():
        run_config_tool("analysis_tools/confusion_matrix.py")
