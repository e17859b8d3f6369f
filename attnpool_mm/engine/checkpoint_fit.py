"""Weights that are judged or trained on are those of the model."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..checkpoint.fit import load_fitting
from ..registry import HOOKS
from ..utils.checks import check_bool
from .resuming import check_training_state
from .runner_checks import model_of


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Stops a run whose checkpoint is not of its model.

    MMEngine takes what fits and warns of the rest, so that a test of a network with
    the weights of another prints the accuracy of chance. Here every entry of the
    model must be in the checkpoint, in its shape; and in a training that is resumed,
    the state of its optimizer and schedulers, too.

    Args:
        partial (bool): Whether one entry is enough, as for a training that starts from
            other weights (`load_from`) and gets a new head. It is not for one that is
            resumed. Default: False.

    Raises:
        ConfigError: `partial` is no boolean, or, when the checkpoint is loaded, it does
            not fit.

    Example:
        >>> hook = dict(type='attnpool_mm.CheckpointFitHook', partial=True)
        >>> custom_hooks = [hook]
    """

    priority = "LOWEST"  # after an `EMAHook`, which exchanges the weights

    def __init__(self, partial: bool = False) -> None:
        self.partial = check_bool("partial", partial)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check what was loaded, before the model takes it."""
        name = str(getattr(runner, "_load_from", None) or f"in {runner.work_dir}")
        model = model_of(runner)
        resumed = bool(getattr(runner, "_resume", False))
        if model is not None:  # a FlexibleRunner may build it later
            weights = checkpoint.get("state_dict", checkpoint)
            partial = self.partial and not resumed
            load_fitting(model, weights, name, partial, optional=not resumed)
        if resumed:
            check_training_state(runner, checkpoint, name)
