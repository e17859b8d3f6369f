"""Test an ONNX file as tools/test.py tests a checkpoint: the same data and metric.

    python tools/deployment/test_onnx.py CONFIG model.onnx

ONNX Runtime takes the place of the network; preprocessing, the decoding of boxes, the
test loop and the evaluator are the config's. Its network is built, without weights.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from attnpool_mm.deploy.onnx_network import OnnxNetwork, replace_network
from attnpool_mm.engine import adjustments, launch, preflight, runner_checks
from attnpool_mm.engine.arguments import check_arguments
from attnpool_mm.engine.contents import check_contents
from attnpool_mm.engine.result_files import TABLES, write_metrics
from attnpool_mm.engine.values import check_parts, check_values
from attnpool_mm.engine.work_dir import check_file, check_work_dir
from attnpool_mm.utils.checks import check_int
from attnpool_mm.utils.config import NoRandomFills
from attnpool_mm.utils.errors import ConfigError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config", help="config file")
    parser.add_argument("file", help="ONNX file of tools/deployment/export_onnx.py")
    parser.add_argument(
        "--work-dir", help="folder for logs (default: ./work_dirs/NAME_OF_CONFIG)"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=launch.KeyValueAction,
        metavar="KEY=VALUE",
        help="config values to override, such as test_dataloader.batch_size=1",
    )
    parser.add_argument("--out", metavar="FILE", help="the metrics go here (.json)")
    parser.add_argument(
        "--threads",
        type=int,
        default=torch.get_num_threads(),
        help="threads of ONNX Runtime (default: PyTorch's number)",
    )
    parser.set_defaults(launcher="none", local_rank=0)
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    """Test as the command line says."""
    check_int("--threads", args.threads)
    if args.out is not None:
        if Path(args.out).suffix not in TABLES:
            raise ConfigError(
                f"--out {args.out}: its suffix must be one of {', '.join(TABLES)}"
            )
        check_file("--out", args.out)
    network = OnnxNetwork(args.file, args.threads)
    cfg = launch.load_config(args)
    cfg.load_from, cfg.resume = None, False
    if cfg.get("test_dataloader") is None:
        raise ConfigError(f"config {args.config}: there is no test_dataloader")
    launch.merge_options(cfg, args.cfg_options)
    adjustments.drop_disabled_hooks(cfg)
    adjustments.adapt_to_device(cfg)
    adjustments.set_dataloader_defaults(cfg)
    check_parts(cfg, "test")
    check_values(cfg)
    check_work_dir(cfg.work_dir)
    check_arguments(cfg, ("test",))
    preflight.check_data_paths(cfg, ("test",))
    launch.check_visualizer(cfg)
    warnings = check_contents(cfg, ("test",))
    with NoRandomFills():
        runner = launch.build_runner(cfg)
    for warning in warnings:
        runner.logger.warning(warning)
    replace_network(runner_checks.model_of(runner), network)
    metrics = runner.test()
    launch.stop_workers(runner)
    if args.out is not None:
        write_metrics(args.out, metrics)


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
