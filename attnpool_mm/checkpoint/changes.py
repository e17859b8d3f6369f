"""Which weights a training has changed, and which not."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..utils.errors import ConfigError

STATISTICS = ("running_mean", "running_var")  # which move without a gradient
PROJECTIONS = ("in_proj_weight", "in_proj_bias")  # of `nn.MultiheadAttention`


@dataclass(frozen=True)
class Change:
    """How far the weights of a module have moved from a to b.

    Attributes:
        module: Its name.
        parameters: How many numbers these weights are.
        relative: ‖b − a‖ / ‖a‖; None where a is 0 and b is not, or one is not finite.
        verdict: 'identical'; 'nearly', where `relative` is below the threshold;
            'decayed', where b is a times a factor up to the threshold, as weight decay
            leaves weights without a gradient; 'not finite'; or '' for all others.
        in_pool: Whether the module is in a pool, by its name.
    """

    module: str
    parameters: int
    relative: float | None
    verdict: str
    in_pool: bool


@dataclass
class Changes:
    """What two state dicts say of a training.

    Attributes:
        modules: The modules that both have, in the order of the first.
        only_before: Entries of the first alone.
        only_after: Entries of the second alone.
        other_shape: Entries whose shapes differ.
    """

    modules: list[Change] = field(default_factory=list)
    only_before: list[str] = field(default_factory=list)
    only_after: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)

    @property
    def unchanged(self) -> list[Change]:
        """Modules that were not trained: identical, nearly so, or decayed alone."""
        kinds = ("identical", "nearly", "decayed")
        return [change for change in self.modules if change.verdict in kinds]


def compare_weights(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], threshold: float = 1e-3
) -> Changes:
    """Compare the weights of two checkpoints of a network, module by module.

    What no gradient moves does not count: running statistics of norms, integers, and
    the temperature of a `DynamicConv2d`, which a schedule lowers. The projections of
    `nn.MultiheadAttention`, one entry, are three modules here, since queries and keys
    can be dead while values learn.

    Args:
        before (Mapping[str, Tensor]): A state dict, with or without `module.` in front.
        after (Mapping[str, Tensor]): A later one.
        threshold (float): Relative change below which a module counts as unchanged.
            Default: 1e-3.

    Raises:
        ConfigError: `threshold` is negative, the two have no entry in common, or two
            entries of one differ in 'module.' alone.

    Example:
        >>> before = {'a.weight': torch.ones(2), 'b.weight': torch.ones(2)}
        >>> after = {'a.weight': torch.ones(2), 'module.b.weight': 2 * torch.ones(2)}
        >>> [(c.module, c.relative) for c in compare_weights(before, after).modules]
        [('a', 0.0), ('b', 1.0)]
    """
    if not threshold >= 0:
        raise ConfigError(f"threshold={threshold!r}: 0 or more is accepted")
    before, after = _plain(before), _plain(after)
    changes = Changes(
        only_before=[name for name in before if name not in after],
        only_after=[name for name in after if name not in before],
    )
    modules: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name in before:
        if name not in after:
            continue
        if before[name].shape != after[name].shape:
            changes.other_shape.append(name)
            continue
        if not _learns(name, before):
            continue
        parts = zip(_parts(name, before[name]), _parts(name, after[name]), strict=True)
        for (module, old), (_, new) in parts:
            modules.setdefault(module, []).append((old, new))
    if not modules:
        raise ConfigError("the two checkpoints have no weights in common")
    changes.modules = [
        _change(module, pairs, threshold) for module, pairs in modules.items()
    ]
    return changes


def _plain(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain = {re.sub(r"^(module\.)+", "", name): v for name, v in state_dict.items()}
    if len(plain) < len(state_dict):
        raise ConfigError("state_dict: two entries differ in 'module.' alone")
    return plain


def _learns(name: str, state_dict: Mapping[str, Tensor]) -> bool:
    leaf = name.rpartition(".")[2]
    sibling = name.removesuffix(leaf) + "attention.fc1.weight"  # of a `DynamicConv2d`
    scheduled = leaf == "temperature" and sibling in state_dict
    moves = leaf in STATISTICS or scheduled
    return state_dict[name].is_floating_point() and not moves


def _parts(name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    module, _, leaf = name.rpartition(".")
    if leaf in PROJECTIONS:
        names = (f"{module}.{part}" for part in ("query", "key", "value"))
        yield from zip(names, value.chunk(3), strict=True)
    else:
        yield module, value


def _change(
    module: str, pairs: list[tuple[Tensor, Tensor]], threshold: float
) -> Change:
    old, new = (
        torch.cat([value.detach().double().flatten() for value in values])
        for values in zip(*pairs, strict=True)
    )
    equal = torch.equal(old, new)
    length, moved = old.norm().item(), (new - old).norm().item()
    relative: float | None = 0.0 if equal else moved / length if length else None
    verdict = ""
    if not (old.isfinite().all() and new.isfinite().all()):
        relative, verdict = (0.0, "identical") if equal else (None, "not finite")
    elif equal:
        verdict = "identical"
    elif relative is not None and relative < threshold:
        verdict = "nearly"
    elif length:
        factor = (old @ new).item() / length**2
        if 0 < factor < 1 and (new - factor * old).norm().item() / length < threshold:
            verdict = "decayed"
    in_pool = any("pool" in part for part in module.split("."))
    return Change(module, old.numel(), relative, verdict, in_pool)
