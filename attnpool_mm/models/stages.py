"""What the papers' backbones share: arguments by stage, and pools in stages."""

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from ..utils.checks import check_int, is_int
from ..utils.errors import ConfigError
from .pooled import LARGE, pool_downsampling, set_outputs

HUGE = 2**12 * 3**3 * 5 * 7  # pixels, for strides of 9 in every stage


def pool_stages(
    model: nn.Module,
    stages: Sequence[str],
    strides: Sequence[int],
    pools: Sequence[dict | None],
    position: str,
) -> None:
    """Pool the stages of a network that have a pool, and set what its outputs have.

    Args:
        model (nn.Module): The network, built with strides.
        stages (Sequence[str]): Names of its stages.
        strides (Sequence[int]): Their strides.
        pools (Sequence[dict | None]): The pool of each stage, or None.
        position (str): As in `pool_downsampling`, or 'first_block' for 'block_end'.
    """
    # Large enough for the last map; a layer of attention may square it.
    side = LARGE if math.prod(strides) < LARGE // 100 else HUGE
    size = (side, side)
    pooled = dict(zip(stages, pools, strict=True))
    pooled = {name: pool for name, pool in pooled.items() if pool is not None}
    if not pooled:
        set_outputs(model, size)
        return
    if position == "first_block":
        position = "block_end"
    pool_downsampling(model, list(pooled.values()), list(pooled), position, size)


def check_by_stage(
    name: str, values: Sequence[int], num_stages: int
) -> tuple[int, ...]:
    """Return the values as a tuple, if there is a positive integer a stage.

    Raises:
        ConfigError: There is not.
    """
    if not isinstance(values, (list, tuple)) or len(values) != num_stages:
        raise ConfigError(
            f"{name}={values!r}: a list of {num_stages} integers is accepted, "
            "one a stage"
        )
    return tuple(check_int(f"each of {name}", value) for value in values)


def check_out_indices(indices: Sequence[int], num_outputs: int) -> tuple[int, ...]:
    """Return the indices as a tuple, if each of them is an output.

    Raises:
        ConfigError: One is not.
    """
    accepted = range(num_outputs)
    if (
        not isinstance(indices, (list, tuple, range))
        or not indices
        or not all(is_int(index) and index in accepted for index in indices)
    ):
        raise ConfigError(
            f"out_indices={indices!r}: a list of integers from 0 to "
            f"{num_outputs - 1} is accepted"
        )
    return tuple(indices)


def pool_cfg_by_stage(pool_cfg: Any, strides: Sequence[int]) -> list[dict | None]:
    """The pool's config for each stage; None where the stage has no pool.

    Args:
        pool_cfg (Any): None, one dict for every stage, or a list with a dict or None a
            stage. A stage with stride 1 has no pool, whatever is given for it.
        strides (Sequence[int]): Stride of each stage.

    Raises:
        ConfigError: The list has the wrong length, or an entry is no dict.
    """
    if pool_cfg is None or isinstance(pool_cfg, dict):
        entries = [pool_cfg] * len(strides)
    else:
        entries = list(pool_cfg) if isinstance(pool_cfg, (list, tuple)) else []
        if len(entries) != len(strides):
            raise ConfigError(
                f"pool_cfg={pool_cfg!r}: a dict, or a list of {len(strides)} "
                "(a dict or None a stage) is accepted"
            )
    for entry in entries:
        if entry is not None and (not isinstance(entry, dict) or "stride" in entry):
            raise ConfigError(
                f"pool_cfg entry {entry!r}: a dict without 'stride' is accepted; "
                "`strides` gives the stride of each stage"
            )
    return [
        entry if stride > 1 else None
        for entry, stride in zip(entries, strides, strict=True)
    ]
