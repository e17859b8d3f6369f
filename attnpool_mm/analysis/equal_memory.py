"""Which variants of a network fit into a memory, as the paper compares pools."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

from mmengine.config import Config
from torch import nn

from ..utils.config import build_for_counting, counted_method, input_shape
from ..utils.errors import ConfigError
from .complexity import Complexity, measure_complexity
from .variants import Variant, digits, vary


@dataclass
class Candidate:
    """A variant of a config's network, and what it costs.

    Attributes:
        variant: What differs.
        shape: Channels, height and width of its image.
        complexity: Parameters, FLOPs and memory; None if it cannot be measured.
        problem: Why it cannot.
    """

    variant: Variant
    shape: tuple[int, ...] | None = None
    complexity: Complexity | None = None
    problem: str = ""

    @property
    def memory(self) -> int:
        """The bytes that its activations need."""
        return self.complexity.arena_bytes


def measure_variants(
    cfg: Config,
    variants: Iterable[Variant],
    bytes_per_value: int = 1,
    attention: str = "fused",
    prepare: Callable[[nn.Module, tuple[int, ...], str], object] | None = None,
) -> list[Candidate]:
    """Measure variants of a config's network, without values.

    Args:
        cfg (Config): A whole config.
        variants (Iterable[Variant]): The variants; neighbours that differ in the size
            alone share a model.
        bytes_per_value (int): As in `measure_complexity`. Default: 1.
        attention (str): As in `measure_complexity`. Default: 'fused'.
        prepare (Callable[[nn.Module, tuple[int, ...], str], object] | None): Called
            with a model, the shape of its image and the name of the method that runs
            before each measurement, to tile its attention for example. Default: None.

    Returns:
        A candidate for each. One that cannot be built, prepared or run says why.

    Example:
        >>> from attnpool_mm.analysis.variants import Variant
        >>> pipeline = [dict(type='Resize', scale=32)]
        >>> cfg = Config(dict(
        ...     default_scope='mmpretrain',
        ...     test_dataloader=dict(dataset=dict(pipeline=pipeline)),
        ...     model=dict(type='ImageClassifier', backbone=dict(
        ...         type='attnpool_mm.AttnPoolResNetCIFAR', depth=8, block='basic'))))
        >>> variants = [Variant(strides=s) for s in ((1, 2, 2), (2, 2, 2))]
        >>> [c.memory for c in measure_variants(cfg, variants)]
        [49152, 24576]
    """
    candidates = []
    for key, group in groupby(variants, lambda variant: replace(variant, size=None)):
        group = list(group)
        try:
            varied = vary(cfg, key)
            model = build_for_counting(varied)
        except ConfigError as error:
            candidates += [Candidate(v, problem=str(error)) for v in group]
            continue
        for variant in group:
            candidate = Candidate(variant)
            try:
                sized = vary(varied, Variant(size=variant.size))
                candidate.shape = input_shape(sized)
                method = counted_method(sized)
                if prepare is not None:
                    prepare(model, candidate.shape, method)
                candidate.complexity = measure_complexity(
                    model, candidate.shape, bytes_per_value, method, attention
                )
            except ConfigError as error:
                candidate.problem = str(error)
            candidates.append(candidate)
    return candidates


def fitting(candidates: Sequence[Candidate], limit: int) -> list[Candidate]:
    """Those that fit into `limit` bytes, those with the most FLOPs first."""
    fit = [c for c in candidates if c.complexity is not None and c.memory <= limit]
    return sorted(fit, key=lambda c: -c.complexity.flops)


def nearest_misses(
    candidates: Sequence[Candidate], limit: int, count: int = 3
) -> list[Candidate]:
    """Those that exceed `limit` bytes by the least, the smallest first."""
    missed = [c for c in candidates if c.complexity is not None and c.memory > limit]
    return sorted(missed, key=lambda c: c.memory)[:count]


def nearest(
    candidates: Sequence[Candidate], target: int, cost: str = "memory"
) -> list[Candidate]:
    """Those that were measured, those whose cost is the nearest to `target` first.

    For comparisons at equal cost: below a limit, one may be far below it.

    Args:
        candidates (Sequence[Candidate]): The candidates.
        target (int): Bytes, or FLOPs.
        cost (str): 'memory' or 'flops'. Default: 'memory'.
    """

    def distance(candidate: Candidate) -> int:
        value = candidate.memory if cost == "memory" else candidate.complexity.flops
        return abs(value - target)

    return sorted((c for c in candidates if c.complexity is not None), key=distance)


def first_of_each_pool(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """The first `count` candidates with each pool, in their order."""
    kept: list[Candidate] = []
    for candidate in candidates:
        pool = candidate.variant.pool
        if sum(other.variant.pool == pool for other in kept) < count:
            kept.append(candidate)
    return kept


def columns_of(candidates: Sequence[Candidate]) -> dict[str, list[str]]:
    """The columns of a table of candidates that were measured."""
    variants = [candidate.variant for candidate in candidates]
    costs = [candidate.complexity for candidate in candidates]
    return {
        "pool": [v.pool or "-" for v in variants],
        "strides": [digits(v.strides) if v.strides else "-" for v in variants],
        "width": [f"{v.width:g}" if v.width else "-" for v in variants],
        "image": ["x".join(map(str, c.shape)) for c in candidates],
        "parameters (M)": [f"{cost.parameters / 1e6:.2f}" for cost in costs],
        "MFLOPs": [f"{cost.flops / 1e6:,.1f}" for cost in costs],
        "memory (kB)": [f"{c.memory / 1e3:,.1f}" for c in candidates],
        "at": [cost.peak.module or "the model" for cost in costs],
    }


def entry_of(candidate: Candidate, limit: int | None) -> dict[str, Any]:
    """A candidate's entry in a JSON file; `fits` is None without a limit in bytes."""
    cost = candidate.complexity
    return dict(
        name=candidate.variant.name,
        **asdict(candidate.variant),
        shape=candidate.shape,
        problem=candidate.problem or None,
        fits=None if limit is None else cost is not None and candidate.memory <= limit,
        parameters=cost and cost.parameters,
        flops=cost and cost.flops,
        memory=cost and candidate.memory,
        peak=cost and asdict(cost.peak),
    )


def summary(candidates: Sequence[Candidate], limit: int, bytes_per_value: int) -> str:
    """How many fit into memory, which nearly do, and what cannot be built."""
    problems = [c for c in candidates if c.problem]
    num_fit = len(fitting(candidates, limit))
    missed = len(candidates) - len(problems) - num_fit
    lines = [
        f"{len(candidates)} variants: {num_fit} fit into {limit / 1e3:,.1f} kB, "
        f"{missed} do not, {len(problems)} cannot be measured.",
        f"Memory: for the activations of one image, {bytes_per_value} byte(s) a value, "
        "1 kB = 1000 bytes.",
    ]
    nearest = nearest_misses(candidates, limit)
    if nearest:
        names = (f"{c.variant.name} ({c.memory / 1e3:,.1f} kB)" for c in nearest)
        lines.append(f"The nearest that do not fit: {', '.join(names)}")
    if problems:
        lines.append(f"{problems[0].variant.name}: {problems[0].problem}")
    return "\n".join(lines)
