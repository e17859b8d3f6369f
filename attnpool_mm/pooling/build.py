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
        ConfigError: `cfg` has no type, or one that is not registered, or an
            argument that the type does not take.

    Example:
        >>> build_pool(dict(type='MaxPool2d', kernel_size=3), 16, 2).kernel_size
        3
    """
    if not isinstance(cfg, dict) or "type" not in cfg:
        raise ConfigError(f"pool {cfg!r}: a dict with the key 'type' is accepted")
    pool_type = cfg["type"]
    if isinstance(pool_type, str):
        try:
            pool_class = MODELS.get(pool_type)
        except RuntimeError:  # what MMEngine raises for a name without a dot
            pool_class = None
        if pool_class is None:
            raise ConfigError(
                f"pool type={pool_type!r} is not registered: accepted are "
                f"{', '.join(pool_names())}, or a registered 'scope.Name'"
            )
    else:
        pool_class = pool_type
    parameters = inspect.signature(pool_class).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = set(cfg) - set(parameters) - {"type", "_scope_"}
    if unknown and not takes_any:
        raise ConfigError(
            f"{pool_class.__name__} has no argument {', '.join(sorted(unknown))}: "
            f"accepted are {', '.join(parameters)}"
        )
    return MODELS.build(
        {"in_channels": in_channels, "stride": stride, "_scope_": SCOPE, **cfg}
    )


def pool_names() -> list[str]:
    """The names of this package's pools, sorted."""
    return sorted(
        name
        for name, module in MODELS.module_dict.items()
        if module.__module__.startswith("attnpool_mm.pooling.")
    )
