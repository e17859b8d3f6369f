"""Time and memory of layers, against their plain formulas and a convolution."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import (
    FlopCounterMode,
    conv_flop_count,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from ..utils.checks import check_int
from .plain import plain_formula

MODES = ("inference", "training")


@dataclass
class Measured:
    """What one candidate takes for one step.

    Attributes:
        median_ms: Median of its times in milliseconds.
        peak_bytes: The most memory that it held at a time, as `peak_memory` counts.
        operators: PyTorch's operators that take most of its time, and their shares.
    """

    median_ms: float
    peak_bytes: int
    operators: dict[str, float]


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

    Every round runs each of them once, so that what else the machine does meets all of
    them. The first round, in which a compiler works, is not counted.

    Args:
        layer: A learned pool, `SPEM` or `DynamicConv2d`.
        x: Its input (B, C, H, W).
        convolution: What the layer is compared with, with the same input.
        mode: "inference", a forward pass without gradients in evaluation; or
            "training", a forward and a backward pass, to the input too.
        repeats: Rounds that count.
        plain: Whether the plain formula is measured too.
        compiled: Whether the layer is measured under `torch.compile` too.

    Raises:
        ConfigError: `repeats` is not a positive integer, or there is no plain formula
            for such a layer.

    Returns:
        By name: "layer", "plain", "convolution" and "compiled".
    """
    check_int("repeats", repeats)
    candidates: dict[str, Callable[[Tensor], Tensor]] = {"layer": layer}
    if plain:
        candidates["plain"] = lambda x: plain_formula(layer, x)
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
            statistics.median(times[name]) * 1e3,
            peak_memory(step, x.device),
            time_by_operator(step, x.device),
        )
        for name, step in steps.items()
    }


def make_step(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    parameters: list[nn.Parameter],
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
    leaf = x.requires_grad_()

    def train() -> None:
        function(leaf).backward(grad)
        for tensor in (leaf, *parameters):
            tensor.grad = None

    return train


def take_turns(
    steps: Mapping[str, Callable[[], None]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """The seconds of each step, run in turns after one round that does not count.

    Args:
        steps: By name, what is timed.
        repeats: Rounds that count.
        device: Where they run.

    Example:
        >>> times = take_turns({'a': list, 'b': dict}, 3, torch.device('cpu'))
        >>> [len(seconds) for seconds in times.values()]
        [3, 3]
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(repeats + 1):
        for name, step in steps.items():
            _synchronize(device)
            start = time.perf_counter()
            step()
            _synchronize(device)
            if i > 0:
                times[name].append(time.perf_counter() - start)
    return times


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
        _synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        _synchronize(device)
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


def time_by_operator(
    step: Callable[[], None], device: torch.device, most: int = 5
) -> dict[str, float]:
    """The operators that take most of the time of `step`, by PyTorch's profiler.

    Args:
        step: What runs, once before and once under the profiler.
        device: Where it runs.
        most: How many operators.

    Returns:
        Their shares of the time of all operators, largest first; what an operator calls
        counts for the called one alone.

    Example:
        >>> a = torch.rand(200, 200)
        >>> list(time_by_operator(lambda: a @ a, torch.device('cpu'), most=1))
        ['aten::mm']
    """
    activity, clock = ProfilerActivity.CPU, "self_cpu_time_total"
    if device.type == "cuda":
        activity, clock = ProfilerActivity.CUDA, "self_device_time_total"
    step()
    with profile(activities=[activity], acc_events=True) as recorded:
        step()
        _synchronize(device)
    times = {event.key: getattr(event, clock) for event in recorded.key_averages()}
    whole = sum(times.values())
    slowest = sorted(times, key=times.__getitem__, reverse=True)[:most]
    return {name: times[name] / whole for name in slowest}


def count_flops(step: Callable[[], None]) -> int:
    """FLOPs of the convolutions and matrix products of `step`, attention's included.

    A multiplication and an addition are two. MMCV's deformable convolution is not
    counted.

    Args:
        step: What runs.

    Example:
        >>> a = torch.rand(4, 8)
        >>> count_flops(lambda: a @ a.t()) == 2 * 4 * 8 * 4
        True
    """
    aten = torch.ops.aten
    known = {
        # PyTorch's counter knows those of CUDA only
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward_flops,
        # and forgets the groups of a convolution
        aten.convolution_backward: _convolution_backward_flops,
    }
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        step()
    return counter.get_total_flops()


def _attention_flops(query: tuple, key: tuple, value: tuple, *_, **__) -> int:
    return sdpa_flop_count(query, key, value)


def _backward_flops(grad: tuple, query: tuple, key: tuple, value: tuple, *_, **__):
    return sdpa_backward_flop_count(grad, query, key, value)


def _convolution_backward_flops(
    grad: Sequence[int], x: Sequence[int], weight: Sequence[int], *rest: Any, **_: Any
) -> int:
    *_, needed = rest
    # The input's gradient and the weight's take as many each as the output did.
    return sum(needed[:2]) * conv_flop_count(x, weight, grad)


def machine_speed(device: torch.device, side: int = 2048) -> dict[str, float]:
    """How fast the machine computes and copies: the best of ten.

    Args:
        device: Of what.
        side: Rows and columns of the square float32 matrices; the copied tensor has 16
            times as many values as one.

    Returns:
        "matmul_gflops", 10⁹ FLOPs a second of matrix products; "narrow_gflops", of
        products of 16 columns, an attention head's width; "copy_gbytes", 10⁹ bytes read
        and written a second; "exp_gvalues", 10⁹ exponentials a second.
    """
    a, b, product = (torch.rand(side, side, device=device) for _ in range(3))
    source = torch.rand(16, side, side, device=device)
    target = torch.empty_like(source)
    # As attention's kernels multiply them: blocks that stay in the cache.
    rows = max(1, side // 8)
    narrow = (
        torch.rand(side // 2, 16, device=device),
        torch.rand(16, rows, device=device),
    )
    values, block = (torch.rand(side // 2, rows, device=device) for _ in range(2))
    times = 64
    steps = {
        "matmul": lambda: torch.mm(a, b, out=product),
        "narrow": lambda: [torch.mm(*narrow, out=block) for _ in range(times)],
        "copy": lambda: target.copy_(source),
        "exp": lambda: [torch.exp(values, out=block) for _ in range(times)],
    }
    best = {n: min(times) for n, times in take_turns(steps, 10, device).items()}
    return {
        "matmul_gflops": 2 * side**3 / best["matmul"] / 1e9,
        "narrow_gflops": 2 * times * 16 * block.numel() / best["narrow"] / 1e9,
        "copy_gbytes": 2 * source.nbytes / best["copy"] / 1e9,
        "exp_gvalues": times * block.numel() / best["exp"] / 1e9,
    }


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
