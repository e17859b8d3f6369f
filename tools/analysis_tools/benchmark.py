"""Measure how many images a second a network takes, or its data loader gives.

    python tools/analysis_tools/benchmark.py CONFIG --task inference --checkpoint FILE
    python tools/analysis_tools/benchmark.py CONFIG --task dataloader

MMDetection's script, with its options, which serves classifiers too, and CPUs.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import load_checkpoint
from torch import nn

from attnpool_mm.checkpoint import find_state_dict, load_fitting
from attnpool_mm.engine import launch, preflight
from attnpool_mm.engine.framework_tools import options_of, run_config_tool
from attnpool_mm.utils.errors import ConfigError


def load_own_checkpoint(model: nn.Module, path: str, map_location: str) -> None:
    """MMEngine's function, which here takes only weights of the model."""
    checkpoint = load_checkpoint(model, path, map_location, logger="silent")
    load_fitting(model, find_state_dict(checkpoint, path), path, optional=False)


def use_cpu(benchmark: ModuleType) -> None:
    """Let what the script asks of a GPU do nothing."""
    torch.cuda.synchronize = lambda *_: None
    BaseModel.cuda = lambda self, *_: self
    benchmark.get_max_cuda_memory = lambda *_: 0


def prepare(cfg: Config, words: list[str]) -> list[str]:
    """Check what the script needs, and complete the config for it."""
    given = options_of(words, "task", "checkpoint", "dataset-type")
    infers = given["task"] == "inference"
    if infers and not given["checkpoint"]:
        raise ConfigError("--task inference: --checkpoint FILE is needed")
    preflight.check_checkpoint_path(given["checkpoint"])
    split = "test" if infers else given["dataset-type"] or "test"
    if split in ("train", "val", "test"):  # the script says so of another
        preflight.check_data_paths(cfg, (split,))
    cfg.setdefault("env_cfg", {})
    if cfg.get("data_preprocessor") is not None:
        cfg.model.setdefault("data_preprocessor", cfg.data_preprocessor)
    return words


def run() -> None:
    """Run the command line."""
    if find_spec("psutil") is None:
        raise ConfigError("psutil is needed here: pip install psutil")
    from mmdet.utils import benchmark

    benchmark.load_checkpoint = load_own_checkpoint
    if not torch.cuda.is_available():
        use_cpu(benchmark)
    name = "analysis_tools/benchmark.py"
    try:
        run_config_tool(name, package="mmdet", prepare=prepare)
    except ZeroDivisionError as error:
        raise ConfigError(
            "nothing was measured: --num-warmup smaller than --log-interval, and that "
            "not larger than the number of batches, is accepted"
        ) from error


if __name__ == "__main__":
    with launch.one_line_errors():
        run()
