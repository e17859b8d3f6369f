"""What the networks of a plan cost."""

from typing import Any

from mmengine.config import Config

from ..analysis.complexity import measure_complexity
from ..utils.config import build_for_counting, counted_method, input_shape
from ..utils.errors import ConfigError
from .plan import Plan
from .runner_checks import fitting_patches


def cost_of(cfg: Config) -> dict[str, Any]:
    """What a config's network costs on one image, at 1 byte a value.

    Of a detector it is backbone and neck.

    Returns:
        `shape` of the image, `parameters` of the whole model, `flops`, and the peak
        memory of the activations in bytes: `peak_fused` as in an ideal runtime,
        `peak_unfused` as in a microcontroller's.

    Raises:
        ConfigError: It cannot be built, does not run, or has a patch that is larger
            than its map, with which no training starts.
    """
    model, shape, method = (
        build_for_counting(cfg),
        input_shape(cfg),
        counted_method(cfg),
    )
    with fitting_patches(shape[1:]):
        fused, unfused = (
            measure_complexity(model, shape, method=method, attention=attention)
            for attention in ("fused", "unfused")
        )
    return dict(
        shape=list(shape),
        parameters=fused.parameters,
        flops=fused.flops,
        peak_fused=fused.arena_bytes,
        peak_unfused=unfused.arena_bytes,
    )


def check_equal(plan: Plan, costs: dict[str, dict[str, Any]]) -> None:
    """Check that networks cost what the plan says that they share.

    Args:
        plan (Plan): The plan.
        costs (dict[str, dict[str, Any]]): Name of a network → its cost.

    Raises:
        ConfigError: One deviates from the reference network by too much.
    """
    if plan.equal is None:
        return
    key, within = plan.equal["cost"], plan.equal["within"]
    for run in plan.runs():
        group, aim = run.group, plan.reference_of(run)
        if aim is None:
            raise ConfigError(
                f"plan {plan.path}: equal: {group} has no reference network "
                f"({plan.reference})"
            )
        value, expected = costs[group][key], costs[aim][key]
        if abs(value - expected) > within * expected:
            raise ConfigError(
                f"plan {plan.path}: equal: {key} of {group} is {value:,}, of {aim} "
                f"{expected:,}: at most {within:.0%} apart is accepted"
            )
