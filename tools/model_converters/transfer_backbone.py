"""Take a backbone's weights out of a checkpoint, for another network to start from.

From a classifier for a detector, the other way round, or from a ResNet or MobileNetV2
of torchvision, MMPretrain or MMDetection. The file that it writes has the backbone
alone: load_from=FILE, or
init_cfg=dict(type='Pretrained', checkpoint=FILE, prefix='backbone.').
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.config import Config
from torch import nn

from attnpool_mm.checkpoint import load_checkpoint_file
from attnpool_mm.checkpoint.state_dict import find_state_dict
from attnpool_mm.checkpoint.transfer import (
    BackboneTransfer,
    group_names,
    transfer_backbone,
)
from attnpool_mm.engine import launch, preflight
from attnpool_mm.engine.arguments import check_arguments
from attnpool_mm.utils.atomic_files import save_atomically
from attnpool_mm.utils.config import build_for_counting
from attnpool_mm.utils.errors import ConfigError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="checkpoint with the weights")
    parser.add_argument("target", help="the file to write")
    parser.add_argument(
        "--config", required=True, help="config of the network that they are for"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=launch.KeyValueAction,
        metavar="KEY=VALUE",
        help="values of that config to override, such as model.backbone.arch=KEYWORD",
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="take what matches from a network of another depth",
    )
    parser.add_argument("--quiet", action="store_true", help="print the sums alone")
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="unpickle whatever the file names, which may run code",
    )
    return parser.parse_args()


def build_backbone(cfg: Config, path: str) -> nn.Module:
    """Build the backbone of a config's model, without weights.

    Raises:
        ConfigError: The config has none, or its model cannot be built.
    """
    backbone = (cfg.get("model") or {}).get("backbone")
    if not isinstance(backbone, dict):
        raise ConfigError(f"config {path}: it has no model.backbone")
    return build_for_counting(cfg).backbone


def report(done: BackboneTransfer, quiet: bool) -> None:
    """Print which keys matched, and which did not."""
    for title, names in (
        ("matched", done.matched),
        ("missing: the target's own, they stay as they are initialised", done.missing),
        ("unexpected: of the source's backbone alone", done.unexpected),
        ("left out: not of a backbone", done.left_out),
    ):
        what, _, why = title.partition(": ")
        if quiet:
            print(f"{what}: {len(names)}")
            continue
        print(f"{what}: {len(names)}" + (f" ({why})" if why and names else ""))
        for group, inside in group_names(names).items():
            first = ", ".join(inside[:3]) + (", …" if len(inside) > 3 else "")
            print(f"    {group} ({len(inside)}): {first}")


def run(args: argparse.Namespace) -> None:
    """Transfer as the command line says."""
    source, target = Path(args.source), Path(args.target)
    preflight.check_target(target, source)
    cfg = launch.read_config(args.config)
    launch.merge_options(cfg, args.cfg_options)
    check_arguments(cfg, which=())
    checkpoint = load_checkpoint_file(source, trust=args.trust_checkpoint)
    state_dict = find_state_dict(checkpoint, args.source)
    backbone = build_backbone(cfg, args.config)
    try:
        done = transfer_backbone(state_dict, backbone, args.partial)
    except ConfigError as error:
        raise ConfigError(f"{source} for {args.config}: {error}") from error
    meta = dict(source=source.name, target=Path(args.config).name)
    save_atomically(dict(state_dict=done.state_dict, meta=meta), target, "target")
    report(done, args.quiet)
    total = len(done.matched) + len(done.missing)
    print(f"{len(done.matched)} of the target's {total} keys: {target}")


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
