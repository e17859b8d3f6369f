"""Train a classifier on K-1 of K parts of its training set, and validate on the other.

    python tools/analysis_tools/kfold_cross_valid.py CONFIG --num-splits 5 --seed 1

MMPretrain's script, with its options. The split is by `--seed`, from 1 on; the
trainings go to `fold0`, `fold1`, … in the work folder, and `--resume` goes on.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.config import Config

from attnpool_mm.engine import adjustments, launch, preflight
from attnpool_mm.engine.framework_tools import check_scope, options_of, run_config_tool
from attnpool_mm.utils.checks import check_int
from attnpool_mm.utils.errors import ConfigError

INTEGER = re.compile(r"-?\d+")


def check_numbers(given: dict[str, str | None]) -> None:
    """Check the options that are numbers; of other words the script says so.

    Raises:
        ConfigError: One is not accepted; the script takes the seed 0 for none, and then
            draws one.
    """
    numbers = {name: int(n) for name, n in given.items() if n and INTEGER.fullmatch(n)}
    for name, least in (("num-splits", 2), ("fold", 0), ("seed", 1)):
        if name in numbers:
            check_int(f"--{name}", numbers[name], least)
    splits = numbers.get("num-splits")
    if splits and numbers.get("fold", 0) >= splits:
        raise ConfigError(f"--fold {given['fold']}: 0 to {splits - 1} is accepted")


def prepare(cfg: Config, words: list[str]) -> list[str]:
    """Check what the script needs, and adapt the config as `tools/train.py` does."""
    check_scope(cfg, "mmpretrain", "")
    check_numbers(options_of(words, "num-splits", "fold", "seed"))
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
