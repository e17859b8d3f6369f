"""Test a classifier on shifted and on corrupted images: accuracy by corruption.

    python tools/analysis_tools/robustness.py CONFIG CHECKPOINT

The images are those of the config's test set, corrupted as soon as they are read and
shifted before they are normalised. Every network gets the same ones.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.device import get_device

from attnpool_mm.analysis.corruptions import (
    COMMON,
    EXTRA,
    SEVERITIES,
    check_corruptions,
)
from attnpool_mm.analysis.predictions import TestImages, accuracy, check_classifier
from attnpool_mm.analysis.results import write_json
from attnpool_mm.analysis.robustness import (
    check_max_shift,
    corrupted_accuracy,
    shift_consistency,
)
from attnpool_mm.engine import launch, preflight, trained
from attnpool_mm.engine.work_dir import check_file, check_folder
from attnpool_mm.utils.checks import check_int


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    trained.add_arguments(parser)
    parser.add_argument(
        "--corruptions",
        nargs="*",
        default=list(COMMON),
        metavar="NAME",
        help=f"default: {', '.join(COMMON)}; also {', '.join(EXTRA)}; without a name "
        "none, only shifts",
    )
    parser.add_argument(
        "--severities",
        nargs="+",
        type=int,
        default=list(SEVERITIES),
        metavar="N",
        help="1 to 5 (default: all)",
    )
    parser.add_argument(
        "--max-shift", type=int, default=4, help="pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--num-images", type=int, help="test images, spread evenly (default: all)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of shifts and corruptions (default: 0)"
    )
    parser.add_argument(
        "--cache", metavar="FOLDER", help="corrupted images are kept here"
    )
    parser.add_argument("--json", metavar="FILE", help="the results go here")
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Test as the command line says."""
    check_int("--max-shift", args.max_shift)
    check_int("--seed", args.seed, 0)
    check_corruptions(args.corruptions, args.severities)
    if args.cache is not None:
        check_folder("--cache", args.cache)
    if args.json is not None:
        check_file("--json", args.json, args.config, args.checkpoint)
    cfg = trained.read_config(args)
    check_classifier(cfg)
    preflight.check_data_paths(cfg, ("test",))
    images = TestImages(cfg, args.num_images)
    check_max_shift(args.max_shift, next(images.samples())["inputs"])
    model = trained.load_trained(cfg, args).to(get_device())
    size = images.batch_size
    results: dict[str, Any] = {
        "config": args.config,
        "num_images": len(images.indices),
        "seed": args.seed,
        "max_shift": args.max_shift,
        "accuracy": accuracy(model, images.samples(), size),
        "shift_consistency": shift_consistency(
            model, images.samples, size, args.max_shift, args.seed
        ),
        "corruptions": {},
    }
    print(f"accuracy           {results['accuracy']:6.2f} %")
    print(f"shift consistency  {results['shift_consistency']:6.2f} %")
    if args.corruptions:
        print(row("accuracy, severity", args.severities, "{:6d}"))
    for name in args.corruptions:
        values = {
            severity: corrupted_accuracy(
                model, images, name, severity, args.seed, args.cache
            )
            for severity in args.severities
        }
        results["corruptions"][name] = values
        print(row(name, values.values()), flush=True)
    if args.corruptions:
        rows = results["corruptions"].values()
        means = [sum(r[s] for r in rows) / len(rows) for s in args.severities]
        print(row("mean", means))
        results["mean"] = sum(means) / len(means)
    if args.json is not None:
        write_json(args.json, results)


def row(heading: str, values: Any, form: str = "{:6.2f}") -> str:
    """A line of the table."""
    return f"{heading:18} " + " ".join(map(form.format, values))


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
