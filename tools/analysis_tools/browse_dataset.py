"""Draw what the training gets to see: images after the pipeline, with their labels.

    python tools/analysis_tools/browse_dataset.py CONFIG --not-show --output-dir FOLDER

MMPretrain's script, or MMDetection's, with its options.
"""

import inspect
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from matplotlib import _tight_bbox

from attnpool_mm.engine import launch
from attnpool_mm.engine.framework_tools import run_config_tool

adjust_bbox = _tight_bbox.adjust_bbox


def adjust_bbox_as_before(figure, box):
    """Matplotlib's function as MMPretrain's script calls it."""
    return adjust_bbox(figure, box, figure.canvas.get_renderer())


if __name__ == "__main__":
    # Matplotlib 3.11 asks for a renderer, which the script does not know of
    if "renderer" in inspect.signature(adjust_bbox).parameters:
        _tight_bbox.adjust_bbox = adjust_bbox_as_before
    with launch.one_line_errors():
        run_config_tool(
            "visualization/browse_dataset.py", "analysis_tools/browse_dataset.py"
        )
