"""Time networks in ONNX Runtime and in PyTorch, and compare their outputs.

    python tools/benchmarks/benchmark_onnx.py

Both run one image on one thread, in turns; the networks have random weights.
"""

import argparse
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import nn

from attnpool_mm.analysis.results import text_table
from attnpool_mm.analysis.timing import take_turns
from attnpool_mm.deploy.network import DeployedNetwork
from attnpool_mm.deploy.onnx import export_onnx
from attnpool_mm.deploy.onnx_network import OnnxNetwork, difference
from attnpool_mm.models import AttnPoolMobileNetV2, AttnPoolResNet, AttnPoolResNetCIFAR
from attnpool_mm.pooling import build_pool, pool_names
from attnpool_mm.utils.checks import check_int

POOL = dict(type="SelfAttentivePool2d", num_heads=2, normalize=False)
DYNAMIC = dict(type="DynamicConv2d")
SPEM = dict(type="SPEM")


def cases(pool_size: int) -> dict[str, tuple[nn.Module, tuple[int, int, int]]]:
    """Networks and pools by name, and the shape of what they get."""
    image, small = (3, 96, 96), (3, 32, 32)
    networks = {
        "ResNet-18, strided": (AttnPoolResNet(18), image),
        "ResNet-18, self-attentive": (AttnPoolResNet(18, pool_cfg=POOL), image),
        "ResNet-18, dynamic convolutions": (
            AttnPoolResNet(18, conv_cfg=DYNAMIC),
            image,
        ),
        "MobileNetV2-0.35, strided": (AttnPoolMobileNetV2(widen_factor=0.35), image),
        "MobileNetV2-0.35, self-attentive": (
            AttnPoolMobileNetV2(widen_factor=0.35, pool_cfg=POOL),
            image,
        ),
        "ResNet-20 (CIFAR), SPEM": (
            AttnPoolResNetCIFAR(20, block="basic", attention_cfg=SPEM),
            small,
        ),
    }
    shape = (64, pool_size, pool_size)
    pools = {name: (build_pool(dict(type=name), 64, 2), shape) for name in pool_names()}
    pools["SelfAttentivePool2d"] = (build_pool(POOL, 64, 2), shape)
    return networks | pools


@torch.no_grad()
def measure(model: nn.Module, shape: tuple[int, ...], repeats: int) -> list[str]:
    """Difference, milliseconds in PyTorch and in ONNX Runtime, and their ratio."""
    network, image = DeployedNetwork(model), torch.randn(1, *shape)
    with TemporaryDirectory() as folder:
        export_onnx(model, f"{folder}/net.onnx", shape)
        onnx = OnnxNetwork(f"{folder}/net.onnx", threads=1)
    steps = {"torch": lambda: network(image), "onnx": lambda: onnx(image)}
    times = take_turns(steps, repeats, torch.device("cpu"))
    torch_ms, onnx_ms = (1e3 * statistics.median(times[name]) for name in steps)
    return [
        f"{difference(model, onnx, image):.1e}",
        f"{torch_ms:.2f}",
        f"{onnx_ms:.2f}",
        f"{onnx_ms / torch_ms:.2f}",
    ]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15, help="default: 15")
    parser.add_argument(
        "--pool-size",
        type=int,
        default=32,
        help="side of the maps (default: 32)",
    )
    args = parser.parse_args()
    check_int("--repeats", args.repeats)
    check_int("--pool-size", args.pool_size)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    named = cases(args.pool_size)
    rows = [measure(model, shape, args.repeats) for model, shape in named.values()]
    names = ("difference", "PyTorch (ms)", "ONNX Runtime (ms)", "ratio")
    shapes = ["x".join(map(str, shape)) for _, shape in named.values()]
    columns = {"network": list(named), "input": shapes}
    columns |= dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    print(text_table(columns, markdown=True))


if __name__ == "__main__":
    main()
