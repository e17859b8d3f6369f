"""Where the planner of TensorFlow Lite Micro's arena puts the tensors."""

from bisect import insort
from collections.abc import Iterable


def plan_arena(tensors: Iterable[tuple[int, int, int]]) -> int:
    """The size of an arena in bytes, with the gaps that its planner leaves.

    Greedy, as `GreedyMemoryPlanner`: the largest tensor first, of equal ones the one
    that is made last, each in the lowest place that is free while it lives.

    Args:
        tensors (Iterable[tuple[int, int, int]]): First and last step of each tensor's
            life, and its bytes.

    Example:
        >>> plan_arena([(0, 1, 8), (1, 2, 8), (2, 3, 8)])
        16
    """
    placed: list[tuple[int, int, int, int]] = []
    for first, last, size in sorted(tensors, key=lambda t: (-t[2], -t[0])):
        start = 0
        for other, end, begins, ends in placed:
            if begins <= last and first <= ends:
                if other - start >= size:
                    break
                start = max(start, end)
        insort(placed, (start, start + size, first, last))
    return max(end for _, end, _, _ in placed)
