"""From a config dict to a pool."""

import inspect

from torch import nn

from ..errors import ConfigError
from ..registry import MODELS, SCOPE


def build_pool(cfg: dict, in_channels: int, stride: int) -> nn.Module:
    """Build the pool that `cfg` names, whatever MMEngine's default scope is.

    Args:
        cfg: `dict(type=…, …)`. A bare name is looked up among this package's
            pools, `'scope.Name'` in that scope. Any registered module that takes
            `in_channels` and `stride` will do.
        in_channels: Channels of the input, unless `cfg` has them.
        stride: Stride of the pool, unless `cfg` has one.

    Raises:
        ConfigError: `cfg` has no type, or one that is not registered or is no pool,
            or an argument that the type does not take, or lacks one that it needs.

    Example:
        >>> build_pool(dict(type='MaxPool2d', kernel_size=3), 16, 2).kernel_size
        3
    """
    kind = pool_class(cfg)
    cfg = {"in_channels": in_channels, "stride": stride, **cfg}
    _check_arguments(kind, cfg)
    return MODELS.build({"_scope_": SCOPE, **cfg})


def pool_class(cfg: dict) -> type:
    """The class that a pool's config names.

    Raises:
        ConfigError: `cfg` has no type, or one that is not registered.
    """
    if not isinstance(cfg, dict) or "type" not in cfg:
        raise ConfigError(f"pool {cfg!r}: a dict with the key 'type' is accepted")
    pool_type = cfg["type"]
    if not isinstance(pool_type, str):
        return pool_type
    try:
        kind = MODELS.get(pool_type)
    except RuntimeError:  # what MMEngine raises for a name without a dot
        kind = None
    if kind is None:
        raise ConfigError(
            f"pool type={pool_type!r} is not registered: accepted are "
            f"{', '.join(pool_names())}, or a registered 'scope.Name'"
        )
    return kind


def _check_arguments(kind: type, cfg: dict) -> None:
    name = kind.__name__
    parameters = inspect.signature(kind).parameters.values()
    names = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    given = set(cfg) - {"type", "_scope_"}
    unknown = given - set(names)
    if unknown & {"in_channels", "stride"}:
        raise ConfigError(
            f"pool type={cfg['type']!r}: a pool takes in_channels and stride, "
            f"{name} takes {', '.join(names)}"
        )
    if unknown and len(names) == len(parameters):
        raise ConfigError(
            f"{name} has no argument {', '.join(sorted(unknown))}: accepted are "
            f"{', '.join(names)} (in a config that inherits, _delete_=True drops "
            "what the base config gives)"
        )
    missing = {
        p.name
        for p in parameters
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    } - given
    if missing:
        raise ConfigError(f"pool {name}: {', '.join(sorted(missing))} must be given")


def pool_names() -> list[str]:
    """The names of this package's pools, sorted."""
    return sorted(
        name
        for name, module in MODELS.module_dict.items()
        if module.__module__.startswith("attnpool_mm.pooling.")
    )
