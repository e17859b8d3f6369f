"""The whole path on real input: classifier, detector, COCO mAP, pictures, a page.

    python tools/demo.py
    python tools/demo.py --classifier-only    # which needs no MMDetection

Every step is a command that you could have typed; the demo prints it first. The whole
output of each is kept in `<work dir>/<step>.log`. A step that was done before is not
repeated, so that the first line goes on after the second.
"""

import argparse
import json
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from attnpool_mm.analysis.logs import read_scores
from attnpool_mm.engine import launch
from attnpool_mm.engine.demo_report import write_demo_report
from attnpool_mm.engine.demo_steps import DemoSteps
from attnpool_mm.engine.work_dir import check_folder
from attnpool_mm.utils.atomic_files import write_atomically
from attnpool_mm.utils.checks import check_int

ROOT = Path(__file__).resolve().parents[1]
CLASSIFIER = "configs/demo/resnet18-half-nlp_digits.py"
DETECTOR = "configs/demo/faster-rcnn_resnet18-half-nlp_fpn_digits-coco.py"
REPORT = "report.html"
LAST = "weights"  # the last step


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Train a detector with self-attentive pooling on digits",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--work-dir", default="work_dirs/demo", help="all output")
    parser.add_argument("--train-images", type=int, default=560, help="of the detector")
    parser.add_argument("--val-images", type=int, default=150, help="of the detector")
    parser.add_argument("--pretrain-epochs", type=int, default=10, help="classifier's")
    parser.add_argument("--epochs", type=int, default=4, help="detector's")
    parser.add_argument("--seed", type=int, default=0, help="of data and training")
    parser.add_argument(
        "--classifier-only", action="store_true", help="stop before the detector"
    )
    parser.add_argument(
        "--anew", action="store_true", help="repeat the steps that were done before"
    )
    return parser.parse_args()


def handed_over(detector_config: str, checkpoint: Path) -> tuple[int, int, int]:
    """Build the detector as its training does, and compare it with the classifier.

    Returns:
        How many tensors its backbone has, how many of them are the classifier's, and
        the detector's parameters.
    """
    import torch
    from mmengine.config import Config
    from mmengine.logging import MMLogger
    from mmengine.registry import MODELS, init_default_scope

    from attnpool_mm.checkpoint import load_checkpoint_file, use_safe_loading

    MMLogger.get_instance("demo", log_level="ERROR")
    use_safe_loading()
    cfg = Config.fromfile(ROOT / detector_config)
    cfg.model.backbone.init_cfg.checkpoint = str(checkpoint)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.init_weights()
    theirs = load_checkpoint_file(checkpoint)["state_dict"]
    ours = model.backbone.state_dict()
    equal = sum(
        torch.equal(value, theirs[key])
        for name, value in ours.items()
        if (key := f"backbone.{name}") in theirs
    )
    return len(ours), equal, sum(p.numel() for p in model.parameters())


def as_value(path: Path) -> str:
    """A path as a value of `--cfg-options`, where commas part the items of a list."""
    return f"'{path}'" if "," in str(path) else str(path)


def schedule(epochs: int) -> list[str]:
    """The options that make a training and its learning rate `epochs` long."""
    return [
        f"train_cfg.max_epochs={epochs}",
        f"param_scheduler.1.end={max(2, epochs)}",
        f"param_scheduler.1.T_max={max(1, epochs - 1)}",
    ]


def train_classifier(
    steps: DemoSteps, args: argparse.Namespace, work_dir: Path
) -> tuple[Path, dict[str, str]]:
    """Train the classifier and draw its weights; its checkpoint and its results."""
    classifier = work_dir / "classifier"
    checkpoint = classifier / f"epoch_{args.pretrain_epochs}.pth"
    steps.run(
        "classifier",
        "Train a classifier on single digits (1 to 2 minutes)",
        [
            "tools/train.py",
            CLASSIFIER,
            f"--work-dir={classifier}",
            "--cfg-options",
            *schedule(args.pretrain_epochs),
            f"randomness.seed={args.seed}",
        ],
        checkpoint,
    )
    out_dir = work_dir / "classifier_weights"
    steps.run(
        "classifier_weights",
        "Draw its pooling weights (seconds)",
        [
            "tools/visualization/pooling_weights.py",
            CLASSIFIER,
            checkpoint,
            f"--out-dir={out_dir}",
        ],
        out_dir / "000000.png",
    )
    _, (*_, last), _ = read_scores(classifier, "accuracy/top1")
    results = {
        "accuracy of the classifier": f"{last['accuracy/top1']:.1f} %",
        "seconds, classifier": f"{steps.seconds['classifier']:.0f}",
    }
    return checkpoint, results


def train_detector(
    steps: DemoSteps, args: argparse.Namespace, work_dir: Path, classifier: Path
) -> dict[str, str]:
    """Train the detector from the classifier, test it and draw; its results."""
    data = work_dir / "data"
    annotations = data / "annotations" / "val.json"
    steps.run(
        "data",
        f"Compose {args.train_images} + {args.val_images} images with digits (seconds)",
        [
            "tools/dataset_converters/compose_coco.py",
            "digits",
            data,
            "--overwrite",
            f"--train-images={args.train_images}",
            f"--val-images={args.val_images}",
            f"--seed={args.seed}",
        ],
        annotations,
    )
    tensors, equal, parameters = handed_over(DETECTOR, classifier)
    print(f"    {equal} of {tensors} keys of the detector's backbone are matched by it")
    if equal < tensors:
        raise SystemExit("error: the detector does not start from the classifier")

    detector = work_dir / "detector"
    options = [
        "--cfg-options",
        f"train_dataloader.dataset.data_root={as_value(data)}",
        f"val_dataloader.dataset.data_root={as_value(data)}",
        f"test_dataloader.dataset.data_root={as_value(data)}",
        f"val_evaluator.ann_file={as_value(annotations)}",
        f"test_evaluator.ann_file={as_value(annotations)}",
        f"model.backbone.init_cfg.checkpoint={as_value(classifier)}",
        f"randomness.seed={args.seed}",
    ]
    trained = detector / f"epoch_{args.epochs}.pth"
    steps.run(
        "detector",
        "Train Faster R-CNN from the classifier's weights (4 to 9 minutes)",
        [
            "tools/train.py",
            DETECTOR,
            f"--work-dir={detector}",
            *options,
            *schedule(args.epochs),
        ],
        trained,
    )
    metrics_file = work_dir / "metrics.json"
    steps.run(
        "test",
        "Test it with the COCO evaluator (half a minute)",
        [
            "tools/test.py",
            DETECTOR,
            trained,
            f"--work-dir={detector}",
            f"--out={metrics_file}",
            *options,
            f"test_evaluator.outfile_prefix={as_value(work_dir / 'predictions')}",
        ],
        metrics_file,
    )
    out_dir = work_dir / "detections"
    steps.run(
        "detections",
        "Draw the best of its detections, and some of the worst (seconds)",
        [
            "tools/visualization/detections.py",
            work_dir / "predictions.bbox.json",
            annotations,
            data / "val",
            f"--out-dir={out_dir}",
        ],
        out_dir / "captions.json",
    )
    out_dir = work_dir / "pooling_weights"
    steps.run(
        LAST,
        "Draw its pooling weights (seconds)",
        [
            "tools/visualization/pooling_weights.py",
            DETECTOR,
            trained,
            f"--out-dir={out_dir}",
            *options,
        ],
        out_dir / "000000.png",
    )
    # Of a detector that finds nothing, as after few images, the evaluator gives none.
    metrics = json.loads(metrics_file.read_text())
    return {
        "mAP": f"{metrics.get('coco/bbox_mAP', 0):.3f}",
        "mAP50": f"{metrics.get('coco/bbox_mAP_50', 0):.3f}",
        "parameters of the detector": f"{parameters / 1e6:.1f} M",
        "seconds, detector": f"{steps.seconds['detector']:.0f}",
    }


def check(args: argparse.Namespace) -> None:
    """Check the command line.

    Raises:
        ConfigError: A number is not accepted, or the folder cannot be written to.
    """
    for name in ("train_images", "val_images", "pretrain_epochs", "epochs"):
        check_int(f"--{name.replace('_', '-')}", getattr(args, name))
    check_int("--seed", args.seed, 0)
    check_folder("--work-dir", args.work_dir)


def run(args: argparse.Namespace) -> None:
    """Run the demo as the command line says."""
    check(args)
    work_dir = Path(args.work_dir).expanduser().resolve()
    work_dir.mkdir(parents=True, exist_ok=True)
    count = 2 if args.classifier_only else 7
    steps = DemoSteps(ROOT, work_dir, count, args.anew)
    checkpoint, results = train_classifier(steps, args, work_dir)
    report = work_dir / REPORT
    if args.classifier_only and LAST in steps.recorded and report.is_file():
        print(f"\nThe detector was trained from it before, too: {report}")
        return
    title = "ResNet-18, self-attentive pooling"
    if not args.classifier_only:
        results = {**train_detector(steps, args, work_dir, checkpoint), **results}
        title = f"Faster R-CNN, {title}"
    results["seconds, in all"] = f"{sum(steps.seconds.values()):.0f}"

    table = [
        f"| {title} | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in results.items()),
    ]
    text = "\n".join(table) + "\n"
    write_atomically(work_dir / "results.md", text.encode())
    print("\n" + "\n".join(table))
    write_demo_report(report, results, steps.done)
    print(f"\nThe table, curves and pictures, in a browser: {report}")
    if args.classifier_only:
        print("The detector follows with `make demo`.")


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    # an exception, at which `DemoSteps` ends the step that runs
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda signum, _: sys.exit(128 + signum))
    main()
