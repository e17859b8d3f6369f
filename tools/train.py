"""Train a classifier or a detector: `python tools/train.py CONFIG`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmengine.config import Config
from mmengine.dist import is_main_process

from attnpool_mm.checkpoint import use_safe_loading
from attnpool_mm.engine import (
    adjustments,
    distributed,
    launch,
    newest_checkpoint,
    preflight,
    runner_checks,
)
from attnpool_mm.engine.arguments import check_arguments
from attnpool_mm.engine.checkpoint_fit import CheckpointFitHook
from attnpool_mm.engine.contents import check_contents
from attnpool_mm.engine.interruption import Interrupted, SignalWatch, stop_on_signal
from attnpool_mm.engine.invalid_loss import add_invalid_loss_hook
from attnpool_mm.engine.values import check_parts, check_values
from attnpool_mm.engine.work_dir import check_work_dir


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a classifier or a detector")
    launch.add_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from this checkpoint, or without a value from the work folder's "
        "latest one",
    )
    parser.add_argument("--amp", action="store_true", help="train in mixed precision")
    parser.add_argument(
        "--no-validate", action="store_true", help="do not evaluate while training"
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate by batch size / auto_scale_lr.base_batch_size",
    )
    parser.add_argument(
        "--check-data",
        action="store_true",
        help="open every image before training, not a sample",
    )
    return parser.parse_args()


def configure(args: argparse.Namespace) -> Config:
    """Make the config of this run: the file, then the options."""
    cfg = launch.load_config(args)
    if args.resume is not None:
        cfg.resume = True
        if args.resume != "auto":
            cfg.load_from = args.resume
    if args.amp:
        adjustments.use_amp(cfg)
    add_invalid_loss_hook(cfg)  # before the options, which may set it
    launch.merge_options(cfg, args.cfg_options)
    if cfg.default_hooks is None:
        add_invalid_loss_hook(cfg)
    adjustments.drop_disabled_hooks(cfg)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.auto_scale_lr:
        adjustments.enable_auto_scale_lr(cfg)
    adjustments.adapt_to_device(cfg)
    adjustments.set_dataloader_defaults(cfg)
    adjustments.use_resumable_training(cfg)
    return cfg


def run(args: argparse.Namespace, watch: SignalWatch) -> None:
    """Train as the command line says."""
    cfg = configure(args)
    check_parts(cfg, "train")
    check_values(cfg)
    check_work_dir(cfg.work_dir)
    check_arguments(cfg, ("train", "val"))
    preflight.check_data_paths(cfg, ("train", "val"))
    preflight.check_checkpoint_path(cfg.get("load_from"))
    if args.resume not in (None, "auto"):
        saved = cfg.default_hooks.get("checkpoint") or {}
        optimizer = saved.get("save_optimizer", True)
        preflight.check_resumable(args.resume, args.trust_checkpoint, optimizer)
    launch.check_visualizer(cfg)
    launch.check_compile(cfg)
    warnings = check_contents(cfg, ("train", "val"), args.check_data)
    distributed.setup_distributed(cfg)
    distributed.adapt_norms(cfg, training=True)
    use_safe_loading(args.trust_checkpoint, cfg.work_dir)
    runner = launch.build_runner(cfg)
    for warning in warnings:
        runner.logger.warning(warning)
    runner_checks.check_detector(runner)
    runner_checks.check_classifier(runner)
    runner_checks.check_pretrained(runner)
    runner_checks.check_patches(runner)
    runner_checks.check_spem(runner)
    if args.resume == "auto" or (cfg.get("resume") and not cfg.get("load_from")):
        newest_checkpoint.resume_newest(runner, args.trust_checkpoint)
    stop_on_signal(runner, watch)
    runner.register_hook(CheckpointFitHook(partial=True))
    try:
        runner.train()
    finally:
        launch.stop_workers(runner)


def main() -> None:
    """Run the command line."""
    args = parse_args()
    status = 0
    try:
        with launch.one_line_errors(), SignalWatch() as watch:
            run(args, watch)
    except Interrupted as stop:
        status = stop.code
        if is_main_process():
            print(stop.message, file=sys.stderr)
    distributed.leave_distributed()
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
