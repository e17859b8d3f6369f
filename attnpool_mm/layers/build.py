"""From a config dict to a convolution."""

from typing import Any

from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry
from torch import nn

from ..registry import MODELS, SCOPE
from ..utils.checks import check_known_arguments
from ..utils.errors import ConfigError
from .dynamic_conv import DynamicConv2d


def build_conv(conv_cfg: dict | None, *args: Any, **kwargs: Any) -> nn.Module:
    """Build the convolution that `conv_cfg` names, whatever the default scope is.

    Args:
        conv_cfg (dict | None): `dict(type=…, …)`; None means `nn.Conv2d`. A bare name
            is looked up in this package first, `'scope.Name'` in that scope; a class is
            taken as it is.
        *args (Any): Arguments of the convolution, those of `nn.Conv2d`.
        **kwargs (Any): Likewise.

    Raises:
        ConfigError: `conv_cfg` has no type, or one that is not registered, or an
            argument that the type does not take.

    Example:
        >>> build_conv(dict(type='DynamicConv2d', num_kernels=2), 3, 8, 1).weight.shape
        torch.Size([2, 8, 3, 1, 1])
    """
    if conv_cfg is None:
        return nn.Conv2d(*args, **kwargs)
    kind = _conv_class(conv_cfg, MODELS)
    own = {key: value for key, value in conv_cfg.items() if key != "type"}
    return kind(*args, **kwargs, **own)


def resolve_conv_cfg(conv_cfg: dict | None) -> dict | None:
    """Make `conv_cfg` mean the same to MMCV's `build_conv_layer`.

    MMCV looks a bare name up in MMEngine's default scope, where it does not find
    this package's convolutions: they get the prefix.

    Args:
        conv_cfg (dict | None): As in `build_conv`.

    Raises:
        ConfigError: As in `build_conv`.

    Returns:
        `conv_cfg` itself, or with the prefix before its type.

    Example:
        >>> resolve_conv_cfg(dict(type='DynamicConv2d', num_kernels=2))
        {'type': 'attnpool_mm.DynamicConv2d', 'num_kernels': 2}
    """
    if conv_cfg is None:
        return None
    with MMENGINE_MODELS.switch_scope_and_registry(None) as registry:  # as MMCV does
        _conv_class(conv_cfg, registry)
    if conv_cfg["type"] in MODELS.module_dict:
        return {**conv_cfg, "type": f"{SCOPE}.{conv_cfg['type']}"}
    return conv_cfg


def _conv_class(conv_cfg: dict, registry: Registry) -> type[nn.Module]:
    if not isinstance(conv_cfg, dict) or "type" not in conv_cfg:
        raise ConfigError(
            f"conv_cfg={conv_cfg!r}: None or a dict with the key 'type' is accepted"
        )
    name = conv_cfg["type"]
    kind = _look_up(name, registry) if isinstance(name, str) else name
    if not isinstance(kind, type):
        raise ConfigError(
            f"conv_cfg type={name!r} is not registered: accepted are Conv2d, "
            f"{DynamicConv2d.__name__}, or a registered 'scope.Name'"
        )
    check_known_arguments(kind, set(conv_cfg) - {"type"})
    return kind


def _look_up(name: str, registry: Registry) -> type[nn.Module] | None:
    if name == "Conv2d":
        return nn.Conv2d
    # Without Registry.get, which imports the backbones and so MMPretrain.
    ours = MODELS.module_dict.get(name.removeprefix(f"{SCOPE}."))
    if ours is not None:
        return ours
    try:
        return registry.get(name)
    except RuntimeError:  # what MMEngine raises for a name without a dot
        return None
