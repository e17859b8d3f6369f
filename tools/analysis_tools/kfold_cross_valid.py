"""Train a classifier on K-1 of K parts of its training set, and validate on the other.

    python tools/analysis_tools/kfold_cross_valid.py CONFIG --num-splits 5 --seed 1

MMPretrain's script, with its options. The split is by `--seed`; the trainings go to
`fold0`, `fold1`, … in the work folder, and `--resume` goes on.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.config import Config

from attnpool_mm.engine import adjustments, launch, preflight
from attnpool_mm.engine.framework_tools import check_scope, run_config_tool
from attnpool_mm.utils.errors import ConfigError


def prepare(cfg: Config, words: list[str]) -> list[str]:
    """Check what the script needs, and adapt the config as `tools/train.py` does."""
    check_scope(cfg, "mmpretrain", "")
    preflight.check_data_paths(cfg, ("train",))
    preflight.check_checkpoint_path(cfg.get("load_from"))
    for split in ("val", "test"):
        loader = cfg.setdefault(f"{split}_dataloader", None)
        if loader is not None and "pipeline" not in loader.dataset:
            raise ConfigError(
                f"{split}_dataloader.dataset: it has no pipeline; a data set in no "
                "wrapper is accepted"
            )
    adjustments.drop_disabled_hooks(cfg)
    adjustments.adapt_to_device(cfg)
    adjustments.use_resumable_training(cfg)
    return words


if __name__ == "__main__":
    with launch.one_line_errors():
        name = "kfold-cross-valid.py"
        run_config_tool(name, package="mmpretrain", prepare=prepare, partial=True)
