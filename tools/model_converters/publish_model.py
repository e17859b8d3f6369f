"""Make of a training's checkpoint one to hand out: the weights, and a hash in the name.

    python tools/model_converters/publish_model.py CONFIG CHECKPOINT OUT.pth

MMPretrain's script, or MMDetection's, with its options. What a training needs to go on
is left out; so are texts of configs, with the paths in them.
"""

import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from attnpool_mm.checkpoint import (
    find_state_dict,
    load_checkpoint_file,
    load_fitting,
)
from attnpool_mm.checkpoint.contents import CONFIG_TEXTS
from attnpool_mm.engine import launch, preflight, trained
from attnpool_mm.engine.framework_tools import (
    HELP,
    TRUST,
    config_words,
    find_tool,
    run_tool,
)
from attnpool_mm.utils.atomic_files import write_atomically
from attnpool_mm.utils.errors import ConfigError

USAGE = "CONFIG CHECKPOINT OUT.pth [options]"


def without_configs(part: dict) -> dict:
    """What is in a part of a checkpoint, less the texts of configs.

    With `--trust-checkpoint` they have been loaded.
    """
    return {key: value for key, value in part.items() if key not in CONFIG_TEXTS}


def saving(save: Callable[..., None]) -> Callable[..., None]:
    """PyTorch's `save`, of a file that is there whole, or not at all."""

    def save_whole(state: Any, path: str | Path, **options: Any) -> None:
        file = BytesIO()
        save(state, file, **options)
        write_atomically(path, file.getbuffer(), "target")

    return save_whole


def run() -> None:
    """Run the command line."""
    cfg, words = config_words(USAGE)
    script = find_tool(cfg.default_scope, ["model_converters/publish_model.py"])
    if HELP & set(words):
        return run_tool(script, words)
    if len(words) < 2 or words[1].startswith("-"):
        raise ConfigError(f"usage: {sys.argv[0]} {USAGE}")
    source, target = words[:2]
    preflight.check_target(Path(target), Path(source))
    checkpoint = load_checkpoint_file(source, trust=TRUST in words)
    weights = find_state_dict(checkpoint, source)
    load_fitting(trained.build_network(cfg), weights, source, optional=False)
    published = dict(state_dict=weights)
    if "state_dict" in checkpoint:
        published = {**without_configs(checkpoint), **published}
        published["meta"] = without_configs(checkpoint.get("meta") or {})
    torch.load = lambda *_, **__: published  # the script's, by which code could run
    torch.save = saving(torch.save)
    run_tool(script, words)


if __name__ == "__main__":
    with launch.one_line_errors():
        run()
