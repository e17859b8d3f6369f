"""Prune a trained network: a share of the channels of every layer goes.

    python tools/deployment/prune.py CONFIG CHECKPOINT --ratio 0.5 --out pruned.pth

It writes the weights, and beside them a config, pruned.py. Both are used as any others:

    python tools/train.py pruned.py     # fine-tune: it starts from pruned.pth
    python tools/test.py pruned.py pruned.pth
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.config import Config
from torch import nn

from attnpool_mm.analysis import Complexity, measure_complexity
from attnpool_mm.analysis.results import text_table
from attnpool_mm.checkpoint import load_checkpoint_file
from attnpool_mm.deploy.prune import check_ratio, prune_network
from attnpool_mm.deploy.pruned_config import BUILDER, pruned_config
from attnpool_mm.engine import launch, preflight, trained
from attnpool_mm.engine.testing import check_test_data, run_test
from attnpool_mm.models.pruned import changed_shapes
from attnpool_mm.utils.atomic_files import saved, write_together
from attnpool_mm.utils.config import counted_method, input_shape
from attnpool_mm.utils.config_text import config_text
from attnpool_mm.utils.errors import ConfigError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    trained.add_arguments(parser)
    parser.add_argument(
        "--ratio",
        type=float,
        default=0.5,
        help="share of the channels that goes, between 0 and 1 (default: 0.5)",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE.pth",
        help="the weights go here, the config to FILE.py beside them",
    )
    launch.add_shape(parser)
    parser.add_argument(
        "--no-test",
        action="store_true",
        help="do not test the network before and after; no data are needed then",
    )
    return parser.parse_args()


def config_path(args: argparse.Namespace) -> Path:
    """The config to write.

    Raises:
        ConfigError: Either file cannot be written there.
    """
    weights = Path(args.out)
    if weights.suffix != ".pth":
        raise ConfigError(f"--out {args.out}: a name that ends in .pth is accepted")
    config = weights.with_suffix(".py")
    sources = Path(args.checkpoint), Path(args.config)
    for target in (weights, config):
        preflight.check_target(target, *sources)
    if config.exists() and BUILDER not in config.read_text(errors="replace"):
        raise ConfigError(
            f"--out {args.out}: it would overwrite {config}, which is no config of a "
            "pruned network; another name is accepted"
        )
    return config


def checkpoint_of(network: nn.Module, source: str, trust: bool) -> dict:
    """The weights, with the classes' names that the source has."""
    meta = {}
    if Path(source).is_file():
        meta = load_checkpoint_file(source, trust=trust).get("meta") or {}
    meta = {k: v for k, v in meta.items() if k == "dataset_meta"}
    return dict(state_dict=network.state_dict(), meta=meta)


def table(costs: list[Complexity], metrics: list[Mapping[str, float]]) -> str:
    """What the network costs and reaches, before and after."""
    rows = {
        "parameters": [c.parameters for c in costs],
        "MFLOPs": [c.flops / 1e6 for c in costs],
        "peak kB": [c.peak.live_bytes / 1e3 for c in costs],
    }
    cells = {
        name: [f"{v:,.0f}" if name == "parameters" else f"{v:,.1f}" for v in values]
        + [f"{values[1] / values[0]:.2f}"]
        for name, values in rows.items()
    }
    for name in dict.fromkeys(name for found in metrics for name in found):
        values = [found.get(name) for found in metrics]  # none where nothing is found
        cells[name] = ["–" if v is None else f"{v:.4g}" for v in values] + [""]
    before, after, ratio = zip(*cells.values(), strict=True)
    return text_table({"": cells, "before": before, "after": after, "ratio": ratio})


def run(args: argparse.Namespace) -> None:
    """Prune as the command line says."""
    check_ratio(args.ratio)
    target = config_path(args)
    cfg = trained.read_config(args)
    shape, method = input_shape(cfg, args.shape), counted_method(cfg)
    if not args.no_test:
        check_test_data(cfg)
    model = trained.load_trained(cfg, args)
    pruned = prune_network(model, shape, args.ratio, method)
    costs = [measure_complexity(m, shape, method=method) for m in (model, pruned)]
    weights = checkpoint_of(pruned, args.checkpoint, args.trust_checkpoint)
    beside = f"{{{{ fileDirname }}}}/{target.stem}.pth"  # wherever both go
    if {"'", "\\"} & {*str(target.resolve())}:  # which MMEngine would put in as it is
        beside = args.out
    new = pruned_config(cfg, changed_shapes(model, pruned), shape[1:], beside)
    files = {args.out: saved(weights), target: config_text(new).encode()}
    write_together(files, "--out")
    metrics = []
    if not args.no_test:
        # The new config is read, so that the files are what is tested
        pairs = (cfg, args.checkpoint, args.partial), (read(target), args.out, False)
        metrics = [
            run_test(c, weights, args.trust_checkpoint, partial)
            for c, weights, partial in pairs
        ]
    print(table(costs, metrics))
    print(
        "Peak: activations of one image at one byte a value."
        + (" Heads did not run." if method != "forward" else "")
    )
    print(f"{args.out}, {target}: fine-tune with python tools/train.py {target}")


def read(path: Path) -> Config:
    """Read the written config."""
    return launch.read_config(str(path))


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
