"""Time and memory of a layer, against its plain formula and a convolution."""

import json
import statistics
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from plain_formulas import plain_formula
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from attnpool_mm.analysis.timing import synchronize, take_turns

MODES = ("inference", "training")


@dataclass
class Measured:
    """What one candidate takes for one step.

    Attributes:
        median_ms: Median of its times in milliseconds.
        peak_bytes: The most memory that it held at a time, as `peak_memory` counts.
    """

    median_ms: float
    peak_bytes: int


def measure_layer(
    layer: nn.Module,
    x: Tensor,
    convolution: nn.Module,
    mode: str,
    repeats: int,
    plain: bool = True,
    compiled: bool = False,
) -> dict[str, Measured]:
    """Measure a layer, its plain formula and a convolution, in turns.

    The first round, in which a compiler works, is not counted.

    Args:
        layer: A learned pool, `SPEM` or `DynamicConv2d`.
        x: Its input (B, C, H, W).
        convolution: What the layer is compared with, with the same input.
        mode: "inference", a forward pass without gradients in evaluation; or
            "training", a forward and a backward pass, to the input too.
        repeats: Rounds that count.
        plain: Whether the plain formula is measured, where there is one.
        compiled: Whether the layer is measured under `torch.compile` too.

    Returns:
        By name: "layer", "plain", "convolution" and "compiled".
    """
    candidates: dict[str, Callable[[Tensor], Tensor]] = {"layer": layer}
    formula = plain_formula(layer)
    if plain and formula:
        candidates["plain"] = formula
    candidates["convolution"] = convolution
    if compiled:
        torch.compiler.reset()  # or it gives up after some layers of a class
        candidates["compiled"] = torch.compile(layer, dynamic=False)
    for module in (layer, convolution):
        module.train(mode == "training")
    parameters = [*layer.parameters(), *convolution.parameters()]
    steps = {
        name: make_step(candidate, x, parameters, mode)
        for name, candidate in candidates.items()
    }
    times = take_turns(steps, repeats, x.device)
    return {
        name: Measured(
            statistics.median(times[name]) * 1e3, peak_memory(step, x.device)
        )
        for name, step in steps.items()
    }


def make_step(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    parameters: Iterable[nn.Parameter],
    mode: str,
) -> Callable[[], None]:
    """A step of inference or training of `function`, without an optimizer.

    Gradients are dropped at its end, so that the next one makes them anew.

    Args:
        function: From an input to an output.
        x: The input.
        parameters: Whose gradients are dropped, beside the input's.
        mode: "inference" or "training".
    """
    x = x.detach()
    if mode == "inference":

        def infer() -> None:
            with torch.inference_mode():
                function(x)

        return infer
    with torch.no_grad():
        grad = torch.randn_like(function(x))
    leaves = [x.requires_grad_(), *parameters]

    def train() -> None:
        function(x).backward(grad)
        for leaf in leaves:
            leaf.grad = None

    return train


def peak_memory(step: Callable[[], None], device: torch.device) -> int:
    """The most bytes that PyTorch's allocator gave to `step` and did not get back.

    What was allocated before, as the input and the parameters, does not count; every
    result, temporary tensor, tensor kept for the backward pass and gradient does. On
    the CPU PyTorch's profiler lists all allocations and releases, so the number is the
    same each time; a kernel's work memory from elsewhere (oneDNN's) is not in it.

    Args:
        step: What runs.
        device: Where it runs.

    Example:
        >>> x = torch.zeros(1000)
        >>> peak_memory(lambda: (x + x).sin_() * x, torch.device('cpu'))
        8000
    """
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    cpu = [ProfilerActivity.CPU]
    with profile(activities=cpu, profile_memory=True, acc_events=True) as recorded:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    events = [event for event in events if event.get("name") == "[memory]"]
    events.sort(key=lambda event: event["ts"])
    live: dict[int, int] = {}
    total = peak = 0
    for event in events:
        size, address = event["args"]["Bytes"], event["args"]["Addr"]
        if size > 0:
            live[address] = size
            total += size
        else:  # what was allocated before does not count
            total -= live.pop(address, 0)
        peak = max(peak, total)
    return peak
