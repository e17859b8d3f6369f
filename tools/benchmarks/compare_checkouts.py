"""A training step of whole networks, of this checkout against another one.

git worktree add /tmp/before HEAD~1
python tools/benchmarks/compare_checkouts.py /tmp/before
"""

import argparse
import os
import statistics
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIP = dict(type="LocalImportancePool2d")
NLP = dict(type="SelfAttentivePool2d", num_heads=2, normalize=False)
SPEM = dict(type="SPEM")
NETWORKS = {  # class, its arguments, batch, height and width of an image
    "resnet18-lip": ("AttnPoolResNet", dict(depth=18, pool_cfg=LIP), 8, 128),
    "resnet18-nlp": ("AttnPoolResNet", dict(depth=18, pool_cfg=NLP), 8, 128),
    "resnet18-gaussian": (
        "AttnPoolResNet",
        dict(depth=18, pool_cfg=dict(type="GaussianPool2d")),
        *(8, 128),
    ),
    "resnet164-spem": (
        "AttnPoolResNetCIFAR",
        dict(depth=164, attention_cfg=SPEM),
        *(32, 32),
    ),
}
# Runs a step for every line that it reads, and answers with its seconds of CPU time.
WORKER = """
import sys, time
import torch
from attnpool_mm import models

kind, arguments, batch, side = eval(sys.argv[1])
torch.manual_seed(0)
network = getattr(models, kind)(**arguments)
network.train()
optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
x = torch.randn(batch, 3, side, side)
for _ in sys.stdin:
    start = time.process_time()
    optimizer.zero_grad()
    network(x)[-1].square().mean().backward()
    optimizer.step()
    print(time.process_time() - start, flush=True)
"""


def measure(network: str, checkouts: list[Path], repeats: int) -> list[float]:
    """The median step of a network in each checkout, in seconds, by turns.

    Args:
        network: One of `NETWORKS`.
        checkouts: Folders that hold the package.
        repeats: Rounds that count; one before them does not.
    """
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WORKER, repr(NETWORKS[network])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        )
        for folder in checkouts
    ]
    times: list[list[float]] = [[] for _ in workers]
    for _ in range(repeats + 1):
        for folder, worker, seconds in zip(checkouts, workers, times, strict=True):
            with suppress(BrokenPipeError):  # of one that has failed, and said why
                print(file=worker.stdin, flush=True)
            if not (line := worker.stdout.readline()):
                for each in workers:
                    each.kill()
                sys.exit(f"error: {folder}: {network} failed there")
            seconds.append(float(line))
    for worker in workers:
        worker.communicate()
    return [statistics.median(seconds[1:]) for seconds in times]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="CPU time of a training step, here and in another checkout"
    )
    parser.add_argument("other", type=Path, help="folder of the other checkout")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--repeats", type=int, default=9, help="(default: 9)")
    args = parser.parse_args()
    if not (args.other / "attnpool_mm").is_dir():
        parser.error(f"other={args.other}: a folder with attnpool_mm in it is accepted")
    if args.repeats < 1:
        parser.error(f"--repeats {args.repeats}: an integer of at least 1 is accepted")
    print("| network | here, s | there, s | here / there |\n|---|---:|---:|---:|")
    for network in args.networks:
        here, there = measure(network, [ROOT, args.other.resolve()], args.repeats)
        print(f"| {network} | {here:.2f} | {there:.2f} | {here / there:.2f}× |")


if __name__ == "__main__":
    main()
