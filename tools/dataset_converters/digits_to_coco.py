"""Make the digits detection data set: digits on photographs, in COCO's format."""

import argparse
import os
from pathlib import Path

from attnpool_mm.datasets import write_digits_coco


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """The parser and what it made of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    data = os.environ.get("ATTNPOOL_DATA", "data")  # as in the configs
    parser.add_argument(
        "out_dir", nargs="?", default=f"{data}/digits_coco", help="where to write"
    )
    parser.add_argument(
        "--train-images", type=positive_int, default=600, help="number of images"
    )
    parser.add_argument(
        "--val-images", type=positive_int, default=150, help="number of images"
    )
    parser.add_argument(
        "--image-size", type=int, default=128, help="side of the images in pixels"
    )
    parser.add_argument(
        "--digits-per-image",
        type=int,
        nargs=2,
        default=(1, 5),
        metavar=("MIN", "MAX"),
        help="fewest and most digits of an image",
    )
    parser.add_argument(
        "--digit-size",
        type=int,
        nargs=2,
        default=(20, 48),
        metavar=("MIN", "MAX"),
        help="smallest and largest side of a digit, margin included, in pixels",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed gives the same files"
    )
    return parser, parser.parse_args()


def positive_int(text: str) -> int:
    """An integer of at least 1, checked before the first split is written."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected an integer of at least 1")
    return int(text)


def main() -> None:
    """Write both splits."""
    parser, args = parse_args()
    for split, num_images in (("train", args.train_images), ("val", args.val_images)):
        try:
            json_path = write_digits_coco(
                args.out_dir,
                split,
                num_images,
                image_size=args.image_size,
                digits_per_image=tuple(args.digits_per_image),
                digit_size=tuple(args.digit_size),
                seed=args.seed,
            )
        except (ValueError, ImportError, OSError) as error:
            parser.error(str(error))
        print(f"{num_images} images in {Path(args.out_dir, split)}, {json_path}")


if __name__ == "__main__":
    main()
