"""Test a classifier or a detector: `python tools/test.py CONFIG CHECKPOINT`."""

import argparse
import sys
from copy import deepcopy
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process

from attnpool_mm.checkpoint import use_safe_loading
from attnpool_mm.engine import (
    adjustments,
    distributed,
    launch,
    preflight,
    runner_checks,
)
from attnpool_mm.engine.arguments import check_arguments
from attnpool_mm.engine.checkpoint_fit import CheckpointFitHook
from attnpool_mm.engine.contents import check_contents
from attnpool_mm.engine.precision import check_precision
from attnpool_mm.engine.result_files import (
    PICKLES,
    TABLES,
    dump_predictions,
    write_metrics,
)
from attnpool_mm.engine.values import check_parts, check_values
from attnpool_mm.engine.work_dir import check_file, check_work_dir
from attnpool_mm.utils.checks import check_int, check_number
from attnpool_mm.utils.errors import ConfigError

CLASSIFICATION_TTA = {"type": "AverageClsScoreTTA"}
DETECTION_TTA = {
    "type": "DetTTAModel",  # MMDetection keeps it in the root registry
    "tta_cfg": {"nms": {"type": "nms", "iou_threshold": 0.5}, "max_per_img": 100},
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Test a classifier or a detector")
    launch.add_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file or URL")
    parser.add_argument(
        "--out", metavar="FILE", help="predictions (.pkl) or metrics (.json) go here"
    )
    parser.add_argument(
        "--out-item",
        choices=("metrics", "pred"),
        help="what goes to --out (default: as its suffix says)",
    )
    parser.add_argument("--amp", action="store_true", help="test in mixed precision")
    parser.add_argument(
        "--show", action="store_true", help="show predictions in a window"
    )
    parser.add_argument("--show-dir", help="folder for pictures of the predictions")
    parser.add_argument(
        "--interval", type=int, default=1, help="draw every n-th picture"
    )
    parser.add_argument(
        "--wait-time", type=float, default=2, help="seconds a window stays open"
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: the config's tta_model and tta_pipeline, or "
        "the mean over the image and its mirror image",
    )
    launch.add_partial(parser)
    return parser.parse_args()


def out_item(out: str | None, item: str | None) -> str | None:
    """Say whether predictions (`pred`) or `metrics` go to the file `out`.

    Raises:
        ConfigError: They cannot.
    """
    if out is None:
        if item is not None:
            raise ConfigError(f"--out-item {item}: needs --out FILE")
        return None
    suffix = Path(out).suffix
    item = item or ("metrics" if suffix in TABLES else "pred")
    accepted = PICKLES if item == "pred" else PICKLES + TABLES
    if suffix not in accepted:
        raise ConfigError(
            f"--out {out}: for {item} its suffix must be one of {', '.join(accepted)}"
        )
    check_file("--out", out)
    return item


def draw_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """Turn the visualization hook on, as `--show` and the like say."""
    hook = cfg.get("default_hooks", {}).get("visualization")
    if hook is None:
        raise ConfigError(
            "--show, --show-dir: the config has no default_hooks.visualization"
        )
    classification = cfg.default_scope == "mmpretrain"
    if classification and args.tta:
        raise ConfigError(
            "--show, --show-dir: MMPretrain cannot draw the predictions of --tta"
        )
    check_int("--interval", args.interval)
    check_number("--wait-time", args.wait_time, 0)
    hook["enable" if classification else "draw"] = True
    hook.update(show=args.show, wait_time=args.wait_time, interval=args.interval)
    if args.show_dir is not None:
        # Absolute, else MMDetection puts it below the work folder
        folder = str(Path(args.show_dir).resolve())
        hook["out_dir" if classification else "test_out_dir"] = folder


def augment_at_test_time(cfg: Config) -> None:
    """Wrap the model and the test pipeline for test-time augmentation."""
    classification = cfg.default_scope == "mmpretrain"
    if "tta_model" not in cfg:
        cfg.tta_model = CLASSIFICATION_TTA if classification else DETECTION_TTA
    loader = cfg.test_dataloader
    for _, dataset in preflight.datasets_of(loader.dataset, "test_dataloader.dataset"):
        if "tta_pipeline" in cfg:
            dataset.pipeline = cfg.tta_pipeline
        else:
            dataset.pipeline = _with_flip(dataset.pipeline)
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def _with_flip(pipeline: list) -> list:
    *steps, pack = deepcopy(pipeline)
    if "meta_keys" in pack:  # detection needs these to flip the boxes back
        pack.meta_keys = tuple(
            dict.fromkeys((*pack.meta_keys, "flip", "flip_direction"))
        )
    flips = [{"type": "RandomFlip", "prob": prob} for prob in (1.0, 0.0)]
    return [*steps, {"type": "TestTimeAug", "transforms": [flips, [pack]]}]


def configure(args: argparse.Namespace) -> Config:
    """Make the config of this run: the file, then the options."""
    cfg = launch.load_config(args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if cfg.get("test_dataloader") is None:
        raise ConfigError(f"config {args.config}: there is no test_dataloader")
    if args.amp:
        adjustments.use_test_amp(cfg)
    if args.show or args.show_dir is not None:
        draw_predictions(cfg, args)
    launch.merge_options(cfg, args.cfg_options)
    adjustments.drop_disabled_hooks(cfg)
    # After the options, which name the parts of the model as it stands in the file
    if args.tta:
        augment_at_test_time(cfg)
    adjustments.adapt_to_device(cfg)
    adjustments.set_dataloader_defaults(cfg)
    return cfg


def run(args: argparse.Namespace) -> None:
    """Test as the command line says."""
    item = out_item(args.out, args.out_item)
    cfg = configure(args)
    check_parts(cfg, "test")
    check_values(cfg)
    check_work_dir(cfg.work_dir)
    check_arguments(cfg, ("test",))
    preflight.check_data_paths(cfg, ("test",))
    preflight.check_checkpoint_path(cfg.load_from)
    launch.check_visualizer(cfg)
    warnings = check_contents(cfg, ("test",))
    distributed.setup_distributed(cfg)
    distributed.adapt_norms(cfg, training=False)
    use_safe_loading(args.trust_checkpoint)
    runner = launch.build_runner(cfg)
    for warning in warnings:
        runner.logger.warning(warning)
    runner_checks.check_detector(runner)
    runner_checks.check_classifier(runner)
    check_precision(runner)
    runner.register_hook(CheckpointFitHook(args.partial))
    if item == "pred":
        runner.test_evaluator.metrics.append(dump_predictions(cfg, args.out))
    metrics = runner.test()
    launch.stop_workers(runner)
    if item == "metrics" and is_main_process():
        write_metrics(args.out, metrics)


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)
    distributed.leave_distributed()


if __name__ == "__main__":
    main()
