"""Times of several things, measured in turns."""

import time
from collections.abc import Callable, Mapping

import torch


def take_turns(
    steps: Mapping[str, Callable[[], None]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """The seconds of each step, run in turns after one round that does not count.

    What else the machine does meets all of them alike.

    Args:
        steps (Mapping[str, Callable[[], None]]): By name, what is timed.
        repeats (int): Rounds that count.
        device (torch.device): Where they run.

    Example:
        >>> times = take_turns({'a': list, 'b': dict}, 3, torch.device('cpu'))
        >>> [len(seconds) for seconds in times.values()]
        [3, 3]
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(repeats + 1):
        for name, step in steps.items():
            synchronize(device)
            start = time.perf_counter()
            step()
            synchronize(device)
            if i > 0:
                times[name].append(time.perf_counter() - start)
    return times


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was given; a CPU has.

    Example:
        >>> synchronize(torch.device('cpu'))
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
