"""Convert a checkpoint of the authors' code to one of this package's classifiers.

They are the authors of self-attentive pooling, of SPEM or of LIP.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from attnpool_mm.checkpoint import (
    authors_names,
    convert_authors_state_dict,
    convert_lip_state_dict,
    load_checkpoint_file,
)
from attnpool_mm.checkpoint.lip import LIP_BACKBONES, lip_names
from attnpool_mm.checkpoint.state_dict import find_state_dict
from attnpool_mm.engine import launch, preflight
from attnpool_mm.utils.atomic_files import save_atomically


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="their checkpoint")
    parser.add_argument("target", help="the file to write")
    parser.add_argument(
        "--arch",
        required=True,
        help="the network's keyword, e.g. resnet18-nlp-1222; spem-164 for SPEM's, "
        f"{', '.join(LIP_BACKBONES)} for LIP's",
    )
    parser.add_argument("--quiet", action="store_true", help="print the sums alone")
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="unpickle whatever the file names, which may run code",
    )
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Convert as the command line says."""
    target = Path(args.target)
    preflight.check_target(target, Path(args.source))
    checkpoint = load_checkpoint_file(args.source, trust=args.trust_checkpoint)
    theirs = find_state_dict(checkpoint, args.source)
    lip = args.arch in LIP_BACKBONES
    names = (lip_names if lip else authors_names)(theirs, args.arch)
    convert = convert_lip_state_dict if lip else convert_authors_state_dict
    ours = convert(theirs, args.arch)
    if not args.quiet:
        for name, source in names.items():
            size = "x".join(map(str, ours[name].shape)) or "1"
            print(f"{source or '(default)'} -> {name} ({size})")
    checkpoint = {"state_dict": ours, "meta": {"arch": args.arch}}
    save_atomically(checkpoint, target, "target")
    defaults = sum(source is None for source in names.values())
    head = "with" if "head.fc.weight" in ours else "without"
    print(
        f"{len(names) - defaults} of {len(theirs)} entries mapped, {defaults} with "
        f"their default, {head} a classifier: {target}"
    )


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
