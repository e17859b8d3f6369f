"""A config's test, as `tools/test.py` runs it, from within another tool."""

import tempfile
from copy import deepcopy

from mmengine.config import Config

from ..checkpoint import use_safe_loading
from . import adjustments, launch, preflight
from .checkpoint_fit import CheckpointFitHook


def check_test_data(cfg: Config) -> None:
    """Check that a config's test can run: its data are there.

    Raises:
        ConfigError: They are not.
    """
    preflight.check_data_paths(cfg, ("test",))
    launch.check_visualizer(cfg)


def run_test(
    cfg: Config, checkpoint: str, trust: bool = False, partial: bool = False
) -> dict[str, float]:
    """Test a config with a checkpoint, and return its metrics.

    Nothing stays of the run: its logs go to a folder that is deleted.

    Args:
        cfg (Config): A whole config; it stays as it is.
        checkpoint (str): The file with the weights.
        trust (bool): As in `load_checkpoint_file`. Default: False.
        partial (bool): Whether the checkpoint may lack some of the model's weights.
            Default: False.

    Raises:
        ConfigError: The checkpoint cannot be read, or is not of the model.
    """
    cfg = deepcopy(cfg)
    cfg.load_from, cfg.resume, cfg.launcher = checkpoint, False, "none"
    cfg.log_level = "WARNING"
    adjustments.drop_disabled_hooks(cfg)
    adjustments.adapt_to_device(cfg)
    adjustments.set_dataloader_defaults(cfg)
    use_safe_loading(trust)
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        runner = launch.build_runner(cfg)
        runner.register_hook(CheckpointFitHook(partial))
        metrics = runner.test()
        launch.stop_workers(runner)
    return metrics
