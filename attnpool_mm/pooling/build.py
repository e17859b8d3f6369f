"""From a config dict to a pool."""

from torch import nn

from ..registry import MODELS, SCOPE
from ..utils.checks import argument_names, check_known_arguments, check_needed_arguments
from ..utils.errors import ConfigError
from ..utils.signatures import FRAMEWORKS, package_of


def build_pool(cfg: dict, in_channels: int, stride: int) -> nn.Module:
    """Build the pool that `cfg` names, whatever MMEngine's default scope is.

    This package's pools need PyTorch and MMEngine alone.

    Args:
        cfg (dict): `dict(type=…, …)`. A bare name is looked up among this package's
            pools, `'scope.Name'` in that scope. Any registered module, or any class,
            that takes `in_channels` and `stride` will do.
        in_channels (int): Channels of the input, unless `cfg` has them.
        stride (int): Stride of the pool, unless `cfg` has one.

    Raises:
        ConfigError: `cfg` has no type, or one that is not registered or is no pool,
            or an argument that the type does not take, or lacks one that it needs.

    Example:
        >>> build_pool(dict(type='MaxPool2d', kernel_size=3), 16, 2).kernel_size
        3
    """
    kind = pool_class(cfg)
    cfg = {"in_channels": in_channels, "stride": stride, **cfg}
    given = set(cfg) - {"type", "_scope_"}
    names = argument_names(kind)
    if {"in_channels", "stride"} - set(names):
        raise ConfigError(
            f"pool type={cfg['type']!r}: a pool takes in_channels and stride, "
            f"{kind.__name__} takes {', '.join(names)}"
        )
    check_known_arguments(kind, given)
    check_needed_arguments(kind, given)
    return kind(**{name: cfg[name] for name in given})


def pool_class(cfg: dict) -> type:
    """The class that a pool's config names.

    Raises:
        ConfigError: `cfg` has no type, or one that is not registered, or by whose bare
            name another class than ours is registered, too.
    """
    if not isinstance(cfg, dict) or "type" not in cfg:
        raise ConfigError(f"pool {cfg!r}: a dict with the key 'type' is accepted")
    pool_type = cfg["type"]
    if not isinstance(pool_type, str):
        return pool_type
    kind = _look_up(pool_type)
    if kind is None:
        raise ConfigError(
            f"pool type={pool_type!r} is not registered: accepted are "
            f"{', '.join(pool_names())}, a class, or what custom_imports in the config "
            "file registers"
        )
    return kind


def pool_names() -> list[str]:
    """The names of this package's pools, sorted."""
    return sorted(
        name
        for name, module in MODELS.module_dict.items()
        if module.__module__.startswith("attnpool_mm.pooling.")
    )


def _look_up(name: str) -> type | None:
    # Not by Registry.get at first, which imports the backbones and so MMPretrain.
    ours = MODELS.module_dict.get(name.removeprefix(f"{SCOPE}."))
    if ours is not None:
        other = MODELS.parent.module_dict.get(name, ours)
        if other is not ours and package_of(other) not in FRAMEWORKS:
            raise ConfigError(
                f"pool type={name!r}: {other.__module__}.{name} is registered by this "
                f"name, too; another name for it, or '{SCOPE}.{name}', is accepted"
            )
        return ours
    try:
        return MODELS.get(name)
    except (ImportError, RuntimeError):  # the latter for a name without a dot
        return MODELS.parent.module_dict.get(name)
