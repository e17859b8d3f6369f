"""Make the list of Visual Wake Words, 'FILE_NAME LABEL' a line, of a COCO json.

MMPretrain's CustomDataset reads it, faster than VisualWakeWords reads the json:
dict(type='CustomDataset', ann_file=LIST, data_prefix=IMAGES, metainfo=dict(
classes=('background', 'person'))).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from attnpool_mm.datasets import read_wake_word_labels
from attnpool_mm.engine import launch
from attnpool_mm.utils.atomic_files import write_atomically
from attnpool_mm.utils.errors import ConfigError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "source", help="json of COCO's instances, e.g. instances_val2017.json"
    )
    parser.add_argument("target", help="the list to write")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.005,
        help="smallest share of the image that a box counts from (default: 0.005)",
    )
    parser.add_argument(
        "--foreground",
        default="person",
        help="category of label 1, all else being 0 (default: person)",
    )
    parser.add_argument(
        "--skip-crowd", action="store_true", help="leave out the boxes of crowds"
    )
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Write the list and print the number of images of each class."""
    target = Path(args.target)
    if not target.parent.is_dir():
        raise ConfigError(f"target {target}: there is no folder {target.parent}")
    if target.is_dir() or target.resolve() == Path(args.source).resolve():
        raise ConfigError(f"target {target}: a file, other than the json, is accepted")
    labels = read_wake_word_labels(
        args.source, args.threshold, args.foreground, args.skip_crowd
    )
    text = "".join(f"{name} {label}\n" for name, label in labels)
    write_atomically(target, text.encode(), "target")
    found = sum(label for _, label in labels)
    print(
        f"{len(labels)} images, {len(labels) - found} background, {found} "
        f"{args.foreground}: {target}"
    )


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
