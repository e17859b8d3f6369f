"""Fit the anchors of a YOLO detector to the boxes of its training set.

    python tools/analysis_tools/optimize_anchors.py CONFIG --algorithm k-means

MMDetection's script, with its options; by default on this machine's device, for the
image size that the config tests with.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.config import Config
from mmengine.device import get_device

from attnpool_mm.engine import launch, preflight
from attnpool_mm.engine.framework_tools import check_scope, options_of, run_config_tool
from attnpool_mm.utils.config import image_size, type_name
from attnpool_mm.utils.errors import ConfigError

ANCHORS = "YOLOAnchorGenerator"
NAME = "analysis_tools/optimize_anchors.py"
ALGORITHMS = ("k-means", "differential_evolution")


def prepare(cfg: Config, words: list[str]) -> list[str]:
    """Check that there are anchors to fit, and fill in what the config says."""
    check_scope(cfg, "mmdet", "")
    anchors = (cfg.model.get("bbox_head") or {}).get("anchor_generator") or {}
    if type_name(anchors) != ANCHORS:
        raise ConfigError(
            f"model.bbox_head.anchor_generator: {type_name(anchors) or 'not there'}; a "
            f"detector with a {ANCHORS} is accepted, such as YOLOv3"
        )
    anchors["type"] = ANCHORS
    given = options_of(words, "algorithm", "device", "input-shape")
    if given["algorithm"] not in (None, *ALGORITHMS):
        raise ConfigError(
            f"--algorithm {given['algorithm']}: {' or '.join(ALGORITHMS)} is accepted"
        )
    preflight.check_data_paths(cfg, ("train",))
    if given["device"] is None:
        words = [*words, "--device", get_device()]
    if given["input-shape"] is None:
        height, width = image_size(cfg)
        words = [*words, "--input-shape", str(width), str(height)]
    return words


if __name__ == "__main__":
    with launch.one_line_errors():
        run_config_tool(NAME, package="mmdet", prepare=prepare)
