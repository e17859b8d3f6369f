"""Make a detection data set, in COCO's format, of a labelled set of small images.

They are drawn on photographs, on noise, or on pictures of your own, in sizes from small
to large: for training those of the source's training part, for validation those of its
test part.

    python tools/dataset_converters/compose_coco.py digits
    python tools/dataset_converters/compose_coco.py fashion-mnist
    python tools/dataset_converters/compose_coco.py folder data/birds_coco --data birds
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from attnpool_mm.datasets import scenes_of, write_composed_coco
from attnpool_mm.datasets.composed_files import FORMATS, coco_size, json_of
from attnpool_mm.datasets.small_images import SOURCES
from attnpool_mm.engine import launch
from attnpool_mm.utils.checks import check_int
from attnpool_mm.utils.errors import ConfigError

DATA = Path(os.environ.get("ATTNPOOL_DATA", "data"))  # as in the configs
OUTPUTS = {
    "digits": "digits_coco",
    "mnist": "mnist_coco",
    "fashion-mnist": "fashion_coco",
}
# Arguments of the scenes, whose defaults are the source's
SETTINGS = (
    "image_size",
    "objects_per_image",
    "object_size",
    "max_occlusion",
    "background",
    "shared_background",
    "seed",
)
BACKGROUNDS = ("noise", "photos")  # others are folders


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("source", choices=SOURCES, help="the set of small images")
    add("out_dir", nargs="?", help=f"where to write (default: in {DATA})")
    add("--data", help=f"folder of the source (default: {DATA}/SOURCE)")
    add("--train-images", type=int, help="their number (default: 1000; digits: 600)")
    add("--val-images", type=int, help="their number (default: 250; digits: 150)")
    add("--format", choices=FORMATS, default="png", help="of the images")
    add(
        "--overwrite",
        action="store_true",
        help="write over a data set, also one that a stopped run has left",
    )
    group = parser.add_argument_group("scenes", "digits' defaults after the others'")
    add = group.add_argument
    add("--image-size", type=int, help="side of the images in pixels (160; 128)")
    add(
        "--objects-per-image",
        type=int,
        nargs=2,
        metavar=("MIN", "MAX"),
        help="fewest and most objects of an image (2 6; 1 5)",
    )
    add(
        "--object-size",
        type=int,
        nargs=2,
        metavar=("MIN", "MAX"),
        help="smallest and largest longer side of an object in pixels (12 150; 20 48)",
    )
    add(
        "--max-occlusion",
        type=float,
        help="share of an object's box that others may cover (0.3; 0)",
    )
    add("--background", help="photos (default), noise, or a folder with pictures")
    add(
        "--shared-background",
        action="store_true",
        default=None,
        help="both splits crop the same pictures (always with digits); else each is "
        "cut into a part for training and one for validation",
    )
    add("--seed", type=int, help="the same seed gives the same files (0; 0)")
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Write both splits and print how many objects of each size they have."""
    if args.out_dir is None and args.source not in OUTPUTS:
        raise ConfigError(f"out_dir: with the source {args.source!r} it must be given")
    if args.data is not None and args.source == "digits":
        raise ConfigError(f"--data={args.data!r}: digits are scikit-learn's own")
    out_dir = args.out_dir or DATA / OUTPUTS[args.source]
    train, val = (600, 150) if args.source == "digits" else (1000, 250)
    given = {"train": args.train_images, "val": args.val_images}
    counts = {"train": train, "val": val}
    counts |= {split: count for split, count in given.items() if count is not None}
    data = args.data or DATA / args.source
    behind = None if args.background in BACKGROUNDS else args.background
    read = (behind, None if args.source == "digits" else data)
    for split, count in counts.items():
        check_int(f"--{split}-images", count)
        check_out_dir(Path(out_dir), split, read, args.overwrite)
    settings = {
        name: tuple(value) if isinstance(value, list) else value
        for name in SETTINGS
        if (value := getattr(args, name)) is not None
    }
    try:
        scenes = {
            split: scenes_of(args.source, split, data, **settings) for split in counts
        }
    except ImportError as error:
        raise ConfigError(str(error)) from error
    for split, count in counts.items():
        try:
            found = write_composed_coco(scenes[split], out_dir, count, args.format)
        except OSError as error:
            raise ConfigError(f"out_dir: {error}") from error
        print(f"{count} images in {Path(out_dir, split)}, {summary(*found)}")


def check_out_dir(
    out_dir: Path, split: str, sources: Iterable[str | Path | None], overwrite: bool
) -> None:
    """Check that a split can be written, and over nothing that is read or is there.

    Raises:
        ConfigError: It cannot.
    """
    path, images = json_of(out_dir, split), out_dir / split
    for target in (path.parent.resolve(), images.resolve()):
        for source in (Path(source).resolve() for source in sources if source):
            if target in (source, *source.parents) or source in target.parents:
                raise ConfigError(
                    f"out_dir={str(out_dir)!r}: images are read from {source}; another "
                    "folder is accepted"
                )
    there = path if path.exists() else images
    if not overwrite and (path.exists() or (images.is_dir() and any(images.iterdir()))):
        raise ConfigError(f"{there} exists; --overwrite writes over it")


def summary(path: Path, annotations: list[dict]) -> str:
    """The json, and how many of its objects have each of COCO's sizes."""
    sizes = Counter(coco_size(annotation["area"]) for annotation in annotations)
    counts = (f"{sizes[name]} {name}" for name in ("small", "medium", "large"))
    return f"{path}: {', '.join(counts)}"


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
