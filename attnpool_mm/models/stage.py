"""What the backbones share: a stage that halves its map with a pool."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from ..utils.checks import check_int, is_int
from ..utils.errors import ConfigError

POOL_POSITIONS = ("stage_start", "first_block", "stage_end")


class PooledStage(nn.Sequential):
    """Residual blocks at full resolution, and a pool before, among or after them.

    The blocks keep the names '0', '1', … that they have in a plain stage, so that
    weights of a strided network load by name; the pool is `pool`.

    Args:
        blocks: The blocks, all of stride 1.
        pool: The layer that halves the map.
        position: 'stage_start', 'first_block' (after it) or 'stage_end'.
    """

    def __init__(self, blocks: Iterable[nn.Module], pool: nn.Module, position: str):
        super().__init__(*blocks)
        blocks_before_pool = dict(zip(POOL_POSITIONS, (0, 1, len(self)), strict=True))
        self.blocks_before_pool = blocks_before_pool[position]
        self.position = position
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks and the pool in their order."""
        *blocks, pool = self
        for block in blocks[: self.blocks_before_pool]:
            x = block(x)
        x = pool(x)
        for block in blocks[self.blocks_before_pool :]:
            x = block(x)
        return x

    def extra_repr(self) -> str:
        """Where the pool is; the list of children shows it last."""
        return f"pool at {self.position}"


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
        pool_cfg: None, one dict for every stage, or a list with a dict or None a
            stage. A stage with stride 1 has no pool, whatever is given for it.
        strides: Stride of each stage.

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
