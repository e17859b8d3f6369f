"""The whole path on real input: data, classifier, detector, COCO mAP, pictures.

    python tools/demo.py

Every step is a command that you could have typed; the demo prints it first. The whole
output of each is kept in `<work dir>/<step>.log`.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CLASSIFIER = "configs/demo/resnet18-nlp_digits.py"
DETECTOR = "configs/demo/faster-rcnn_resnet18-nlp_fpn_digits-coco.py"
# Of MMEngine's output, what shows how far a step is and what came out of it.
PROGRESS = re.compile(
    r"(Epoch\((?:train|val|test)\).*| Average (?:Precision|Recall).*)"
)


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
    return parser.parse_args()


class Steps:
    """Runs the steps, shows their progress and takes their times.

    Args:
        work_dir: Where the logs go.
        count: How many steps there are.
    """

    def __init__(self, work_dir: Path, count: int):
        self.work_dir = work_dir
        self.count = count
        self.seconds: dict[str, float] = {}

    def run(self, name: str, title: str, *command: str | Path) -> None:
        """Run a script of this repository.

        Raises:
            SystemExit: It failed; the end of its output is printed.
        """
        command = [str(word) for word in command]
        print(f"\n[{len(self.seconds) + 1}/{self.count}] {title}")
        print("    python", " ".join(command), flush=True)
        log = self.work_dir / f"{name}.log"
        start = time.perf_counter()
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-u", *command],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for line in process.stdout:
                file.write(line)
                if match := PROGRESS.search(line):
                    print("   ", match[1].rstrip(), flush=True)
        if process.wait():
            tail = "".join(log.read_text().splitlines(keepends=True)[-20:])
            raise SystemExit(f"{tail}\nerror: this step failed; see {log}")
        self.seconds[name] = time.perf_counter() - start


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


def schedule(epochs: int) -> list[str]:
    """The options that make a training and its learning rate `epochs` long."""
    return [
        f"train_cfg.max_epochs={epochs}",
        f"param_scheduler.1.end={max(2, epochs)}",
        f"param_scheduler.1.T_max={max(1, epochs - 1)}",
    ]


def main() -> None:
    """Run the demo."""
    args = parse_args()
    work_dir = Path(args.work_dir).resolve()
    work_dir.mkdir(parents=True, exist_ok=True)
    data = work_dir / "data"
    steps = Steps(work_dir, count=5)

    steps.run(
        "data",
        f"Compose {args.train_images} + {args.val_images} images with digits (seconds)",
        "tools/dataset_converters/compose_coco.py",
        "digits",
        data,
        "--overwrite",
        f"--train-images={args.train_images}",
        f"--val-images={args.val_images}",
        f"--seed={args.seed}",
    )
    classifier = work_dir / "classifier"
    checkpoint = classifier / f"epoch_{args.pretrain_epochs}.pth"
    steps.run(
        "classifier",
        "Train a classifier on single digits (1 to 3 minutes)",
        "tools/train.py",
        CLASSIFIER,
        f"--work-dir={classifier}",
        "--cfg-options",
        *schedule(args.pretrain_epochs),
        f"randomness.seed={args.seed}",
    )
    tensors, equal, parameters = handed_over(DETECTOR, checkpoint)
    print(f"    {equal} of {tensors} keys of the detector's backbone are matched by it")
    if equal < tensors:
        raise SystemExit("error: the detector does not start from the classifier")

    detector = work_dir / "detector"
    options = [
        "--cfg-options",
        f"train_dataloader.dataset.data_root={data}/",
        f"val_dataloader.dataset.data_root={data}/",
        f"test_dataloader.dataset.data_root={data}/",
        f"val_evaluator.ann_file={data}/annotations/val.json",
        f"test_evaluator.ann_file={data}/annotations/val.json",
        f"model.backbone.init_cfg.checkpoint={checkpoint}",
        f"randomness.seed={args.seed}",
    ]
    steps.run(
        "detector",
        "Train Faster R-CNN from its weights (4 to 9 minutes)",
        "tools/train.py",
        DETECTOR,
        f"--work-dir={detector}",
        *options,
        *schedule(args.epochs),
    )
    trained = detector / f"epoch_{args.epochs}.pth"
    metrics_file = work_dir / "metrics.json"
    steps.run(
        "test",
        "Test it with the COCO evaluator, draw its detections (half a minute)",
        "tools/test.py",
        DETECTOR,
        trained,
        f"--work-dir={detector}",
        f"--out={metrics_file}",
        f"--show-dir={work_dir / 'detections'}",
        *options,
    )
    steps.run(
        "weights",
        "Draw the pooling weights (seconds)",
        "tools/visualization/pooling_weights.py",
        DETECTOR,
        trained,
        f"--out-dir={work_dir / 'pooling_weights'}",
        *options,
    )

    metrics = json.loads(metrics_file.read_text())
    rows = {
        "mAP": f"{metrics['coco/bbox_mAP']:.3f}",
        "mAP50": f"{metrics['coco/bbox_mAP_50']:.3f}",
        "parameters": f"{parameters / 1e6:.1f} M",
        "seconds, classifier": f"{steps.seconds['classifier']:.0f}",
        "seconds, detector": f"{steps.seconds['detector']:.0f}",
        "seconds, in all": f"{sum(steps.seconds.values()):.0f}",
    }
    table = [
        "| Faster R-CNN, ResNet-18, self-attentive pooling | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows.items()),
    ]
    (work_dir / "results.md").write_text("\n".join(table) + "\n")
    print("\n" + "\n".join(table))
    print(f"\nPictures: {work_dir / 'detections'} (truth left, detections right)")
    print(f"          {work_dir / 'pooling_weights'} (image, then each pool's weights)")


if __name__ == "__main__":
    main()
