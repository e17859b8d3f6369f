"""Draw the images on which a network does best, and those on which it does worst.

    python tools/analysis_tools/analyze_results.py DETECTOR FILE.pkl FOLDER --topk 5
    python tools/analysis_tools/analyze_results.py CLASSIFIER FILE.pkl --out-dir FOLDER

The predictions are what `tools/test.py --out FILE.pkl` wrote. A detector's images go to
`good` and `bad` by their mAP, a classifier's to `success` and `fail`. MMDetection's
script, or MMPretrain's, with its options. A pickle is code: load only your own.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.config import Config

from attnpool_mm.engine import launch, preflight
from attnpool_mm.engine.framework_tools import run_config_tool
from attnpool_mm.utils.errors import ConfigError


def prepare(cfg: Config, words: list[str]) -> list[str]:
    """Check that predictions are given, and that the images are there."""
    file = words[0] if words else ""
    if not file.endswith((".pkl", ".pickle")):
        raise ConfigError(
            f"{file or 'nothing'} after the config: FILE.pkl is accepted there, and "
            "options behind it"
        )
    preflight.check_data_paths(cfg, ("test",))
    return words


if __name__ == "__main__":
    with launch.one_line_errors():
        run_config_tool("analysis_tools/analyze_results.py", prepare=prepare)
