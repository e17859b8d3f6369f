"""Print a config with all that it inherits: `python tools/misc/print_config.py CONFIG`.

MMPretrain's script, or MMDetection's, with its options.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from attnpool_mm.engine import launch
from attnpool_mm.engine.framework_tools import run_config_tool

if __name__ == "__main__":
    with launch.one_line_errors():
        run_config_tool("misc/print_config.py")
