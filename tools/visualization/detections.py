"""Draw detections beside the truth, on the best images and on the worst.

python tools/test.py CONFIG CHECKPOINT --cfg-options test_evaluator.outfile_prefix=found
python tools/visualization/detections.py found.bbox.json TRUTH.json IMAGES --out-dir OUT
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2

from attnpool_mm.analysis.detections import (
    JudgedImage,
    best_and_worst,
    caption_of,
    draw_detections,
    judge_images,
)
from attnpool_mm.analysis.results import write_picture
from attnpool_mm.engine import launch
from attnpool_mm.engine.coco_file import (
    check_annotations,
    is_box,
    is_number,
    read_coco,
)
from attnpool_mm.engine.work_dir import check_folder
from attnpool_mm.utils.atomic_files import write_atomically
from attnpool_mm.utils.checks import check_int
from attnpool_mm.utils.errors import ConfigError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Draw detections beside the truth, enlarged",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("predictions", help="json of COCO's results")
    parser.add_argument("annotations", help="the truth, json in COCO's format")
    parser.add_argument("images", help="the folder of the images")
    parser.add_argument("--out-dir", required=True, help="folder for the pictures")
    parser.add_argument("--best", type=int, default=6, help="how many of the best")
    parser.add_argument(
        "--worst", type=int, default=3, help="how many of the worst that have any"
    )
    parser.add_argument("--score", type=float, default=0.5, help="the least to draw")
    parser.add_argument("--iou", type=float, default=0.5, help="the least of a match")
    return parser.parse_args()


def read_predictions(path: Path) -> list[dict]:
    """Read a json of COCO's results.

    Raises:
        ConfigError: It is something else.
    """
    try:
        predictions = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"predictions {path}: {error}") from error
    needed = {"image_id", "category_id", "bbox", "score"}
    listed = isinstance(predictions, list)
    listed = listed and all(isinstance(p, dict) for p in predictions)
    if not listed or any(needed - set(p) for p in predictions):
        raise ConfigError(
            f"predictions {path}: a list of {', '.join(sorted(needed))} is accepted, "
            "as CocoMetric writes with outfile_prefix=FILE"
        )
    for number, one in enumerate(predictions):
        if not is_box(one["bbox"]) or not is_number(one["score"]):
            raise ConfigError(
                f"predictions {path}: bbox={one['bbox']!r}, score={one['score']!r} in "
                f"prediction {number}; four numbers and one are accepted"
            )
    return predictions


def draw(image: JudgedImage, folder: Path, target: Path) -> None:
    """Draw one image into a file.

    Raises:
        ConfigError: The image is not there, or is none.
    """
    picture = cv2.imread(str(folder / image.file_name))
    if picture is None:
        raise ConfigError(f"images {folder}: {image.file_name} is no image there")
    drawn = draw_detections(picture[..., ::-1], image)
    write_picture(target, drawn, "--out-dir", quality=90)


def main() -> None:
    """Draw, and say in `captions.json` what each picture shows."""
    args = parse_args()
    with launch.one_line_errors():
        check_int("--best", args.best, 0)
        check_int("--worst", args.worst, 0)
        for name, value in (("--score", args.score), ("--iou", args.iou)):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name}={value}: a number from 0 to 1 is accepted")
        out_dir = Path(args.out_dir)
        check_folder("--out-dir", out_dir)
        predictions = read_predictions(Path(args.predictions))
        truth = read_coco("annotations", args.annotations)
        check_annotations("annotations", truth, ("bbox", "area", "iscrowd"))
        judged = judge_images(args.annotations, predictions, args.score, args.iou)
        captions = {}
        chosen = best_and_worst(judged, args.best, args.worst)
        for kind, images in zip(("best", "worst"), chosen, strict=True):
            for number, image in enumerate(images, start=1):
                name = f"{kind}_{number}.jpg"
                draw(image, Path(args.images), out_dir / name)
                captions[name] = f"{image.file_name}: {caption_of(image)}"
        text = json.dumps(captions, indent=2, ensure_ascii=False)
        write_atomically(out_dir / "captions.json", text.encode(), "--out-dir")
        print(f"{len(captions)} of {len(judged)} images: {out_dir}")


if __name__ == "__main__":
    main()
