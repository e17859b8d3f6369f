"""Robustness measured at the end of a training, into its log."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..analysis.corruptions import COMMON, check_corruptions
from ..analysis.predictions import TestImages, check_classifier
from ..analysis.robustness import check_max_shift, measure_robustness
from ..registry import HOOKS
from ..utils.checks import check_int
from . import preflight
from .work_dir import check_folder


@HOOKS.register_module()
class RobustnessHook(Hook):
    """Measure shift consistency and accuracy under corruptions after a training.

    It takes the test set of the config and the weights that the training ends with
    (not the averaged ones of an `EMAHook`). The log gets one record, in percent:
    `shift_consistency`, `corruption/NAME` and `corruption/mean`. A training that is
    resumed after its last epoch is measured again. With several processes, the first
    measures, and the others do not wait for it, which a long measurement would let
    time out.

    Args:
        num_images (int | None): How many test images, spread evenly. Default: all.
        max_shift (int): As in `shift_consistency`. Default: 4.
        corruptions (Sequence[str]): Names of corruptions. Default: the 15 common ones.
        severity (int): Of the corruptions, 1 to 5. Default: 3.
        seed (int): Of the shifts and the corruptions. Default: 0.
        cache (str | Path | None): A folder that keeps corrupted images, for the next
            training on the same data. Default: none is kept.

    Raises:
        ConfigError: An argument is wrong, or imagecorruptions is not installed; before
            the training, if the config is no classifier's, its test data are not
            there, or `cache` cannot be written to.

    Example:
        >>> default_hooks = dict(
        ...     robustness=dict(type='attnpool_mm.RobustnessHook', num_images=2000))
    """

    def __init__(
        self,
        num_images: int | None = None,
        max_shift: int = 4,
        corruptions: Sequence[str] = COMMON,
        severity: int = 3,
        seed: int = 0,
        cache: str | Path | None = None,
    ):
        if num_images is not None:
            check_int("num_images", num_images)
        check_int("max_shift", max_shift)
        check_int("seed", seed, 0)
        check_corruptions(corruptions, (severity,))
        self.num_images = num_images
        self.options = dict(
            max_shift=max_shift,
            corruptions=corruptions,
            severity=severity,
            seed=seed,
            cache=cache,
        )

    def before_train(self, runner: Runner) -> None:
        """Find the test images, before hours have gone by."""
        check_classifier(runner.cfg)
        preflight.check_data_paths(runner.cfg, ("test",))
        if self.options["cache"] is not None:
            check_folder("cache", self.options["cache"])
        self._images = TestImages(runner.cfg, self.num_images)
        first = next(self._images.samples())
        check_max_shift(self.options["max_shift"], first["inputs"])

    def after_train(self, runner: Runner) -> None:
        """Measure, and log it."""
        if not is_main_process():
            return
        model = runner.model
        if is_model_wrapper(model):  # its forward passes would wait for the others
            model = model.module
        measured = measure_robustness(model, self._images, **self.options)
        text = ", ".join(f"{name}: {v:.2f}" for name, v in measured.items())
        runner.logger.info(f"Robustness in percent: {text}")
        runner.visualizer.add_scalars(measured, step=runner.iter)
