"""Split what a detector misses by its cause: place, class, background, not found.

    python tools/analysis_tools/coco_error_analysis.py CONFIG FILE.bbox.json FOLDER

MMDetection's script, with its options; the annotations are those of the config's test.
`tools/test.py` writes FILE.bbox.json with the option
`--cfg-options test_evaluator.outfile_prefix=FILE`.
"""

import json
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.config import Config

from attnpool_mm.engine import launch
from attnpool_mm.engine.framework_tools import (
    HELP,
    check_scope,
    config_words,
    find_tool,
    options_of,
    run_tool,
)
from attnpool_mm.utils.errors import ConfigError

USAGE = "CONFIG FILE.bbox.json FOLDER [options]"
pool = multiprocessing.Pool


def read_json(path: str) -> Any:
    """What a file of JSON holds.

    Raises:
        ConfigError: It is not there, or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: it cannot be read ({error})") from error


def annotation_file(cfg: Config) -> str:
    """The annotations that the config's test is evaluated with.

    Raises:
        ConfigError: It names none.
    """
    evaluators = cfg.get("test_evaluator") or []
    for part in evaluators if isinstance(evaluators, list) else [evaluators]:
        if part.get("ann_file"):
            return part["ann_file"]
    raise ConfigError(
        "the config's test_evaluator has no ann_file; --ann FILE is needed"
    )


def with_supercategories(path: str, folder: str) -> str:
    """The file, or a copy whose categories all have the group that the script reads.

    Raises:
        ConfigError: It cannot be read, or has no categories.
    """
    annotations = read_json(path)
    if not isinstance(annotations, dict) or "categories" not in annotations:
        raise ConfigError(f"{path}: annotations of COCO's form are accepted")
    if all("supercategory" in category for category in annotations["categories"]):
        return path
    for category in annotations["categories"]:
        category.setdefault("supercategory", category["name"])
    copy = Path(folder, "annotations.json")
    copy.write_text(json.dumps(annotations))
    return str(copy)


def run() -> None:
    """Run the command line."""
    cfg, words = config_words(USAGE)
    check_scope(cfg, "mmdet", "")
    script = find_tool("mmdet", ["analysis_tools/coco_error_analysis.py"])
    if HELP & set(words):
        return run_tool(script, words)
    if len(words) < 2:
        raise ConfigError(f"usage: {sys.argv[0]} {USAGE}")
    if not read_json(words[0]):
        raise ConfigError(f"{words[0]}: there is no detection in it")
    with tempfile.TemporaryDirectory() as folder:
        file = options_of(words, "ann")["ann"] or annotation_file(cfg)
        file = with_supercategories(file, folder)
        run_tool(script, [*words, "--ann", file])  # the last one counts


if __name__ == "__main__":
    # The script wants 48 processes
    multiprocessing.Pool = lambda processes: pool(min(processes, os.cpu_count() or 1))
    with launch.one_line_errors():
        run()
