"""A network with narrower layers than its config says: a pruned one."""

from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

from mmengine.registry import MODELS as MMENGINE_MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from ..layers import SPEM
from ..registry import MODELS
from ..utils.checks import check_known_arguments, is_int
from ..utils.config import registered
from ..utils.errors import ConfigError
from ..utils.shapes import on_shapes
from .pooled import set_outputs
from .tracing import trace


@MODELS.register_module(name="PrunedModel")
def pruned_model(
    network: str | type,
    shapes: Mapping[str, str],
    image_size: Sequence[int] = (224, 224),
    **kwargs: Any,
) -> nn.Module:
    """Build a network, and narrow its layers to the widths of a pruned one.

    In a config its name is `PrunedModel`. `tools/deployment/prune.py` writes such
    configs. The network's own keys stay where they are, `model.backbone` for example.
    Nothing but this package is needed.

    Args:
        network (str | type): Type of the network, e.g. 'mmpretrain.ImageClassifier'.
        shapes (Mapping[str, str]): Name in the state dict → shape, such as '32x3x7x7',
            of each tensor that is narrower than in the whole network.
        image_size (Sequence[int]): Height and width in pixels of an image that the
            network takes. Default: (224, 224).
        **kwargs (Any): Arguments of the network.

    Returns:
        The network, an object of its own class.

    Raises:
        ConfigError: There is no such network, it does not take these arguments, or it
            cannot have these shapes.

    Example:
        >>> layer = pruned_model(
        ...     nn.Conv2d, shapes={'weight': '6x3x1x1', 'bias': '6'},
        ...     in_channels=3, out_channels=8, kernel_size=1)
        >>> layer.out_channels
        6
    """
    kind = registered(network, MMENGINE_MODELS)
    if kind is None:
        raise ConfigError(f"network={network!r}: a registered model is accepted")
    check_known_arguments(kind, kwargs)
    model = MODELS.build(dict(type=network, **kwargs))
    narrow(model, shapes)
    set_channels(getattr(model, "backbone", model), image_size)
    return model


def changed_shapes(whole: nn.Module, pruned: nn.Module) -> dict[str, str]:
    """The shapes of a pruned network's tensors that are not those of the whole one.

    Example:
        >>> changed_shapes(nn.Linear(4, 2), nn.Linear(3, 2))
        {'weight': '2x3'}
    """
    before = {name: tensor.shape for name, tensor in whole.state_dict().items()}
    return {
        name: "x".join(map(str, tensor.shape))
        for name, tensor in pruned.state_dict().items()
        if tensor.shape != before[name]
    }


def narrow(model: nn.Module, shapes: Mapping[str, str]) -> None:
    """Cut tensors of a network in place; each keeps its first values.

    Args:
        model (nn.Module): The network.
        shapes (Mapping[str, str]): As in `pruned_model`. What layers say of their sizes
            (`out_channels`, `groups`) follows.

    Raises:
        ConfigError: The network has no such tensor, or it cannot have that shape.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1))
        >>> narrow(
        ...     model, {'0.weight': '6x3x1x1', '0.bias': '6', '1.weight': '4x6x1x1'})
        >>> model[0].out_channels, model[1].in_channels
        (6, 6)
    """
    if not isinstance(shapes, Mapping):
        raise ConfigError(f"shapes={shapes!r}: a dict of names and shapes is accepted")
    names, owners = model.state_dict().keys(), {}
    for name, shape in shapes.items():
        if name not in names:
            raise ConfigError(
                f"shapes: {type(model).__name__} has no {name!r} in its state dict"
            )
        prefix, _, leaf = name.rpartition(".")
        owner = owners[prefix] = model.get_submodule(prefix)
        tensor = getattr(owner, leaf)
        sides = str(shape).split("x")
        fits = len(sides) == tensor.dim() and all(
            side.isdecimal() and int(side) <= whole
            for side, whole in zip(sides, tensor.shape, strict=True)
        )
        if not fits:
            most = "x".join(map(str, tensor.shape))
            raise ConfigError(f"shapes: {name}={shape!r}: at most {most} is accepted")
        cut = tensor.detach()[tuple(slice(int(side)) for side in sides)].clone()
        if isinstance(tensor, nn.Parameter):
            cut = nn.Parameter(cut, tensor.requires_grad)
        setattr(owner, leaf, cut)
    for owner in owners.values():
        set_sizes(owner)


@singledispatch
def set_sizes(layer: nn.Module) -> None:
    """Set what a layer says of its sizes to those of its tensors.

    Example:
        >>> layer = nn.Linear(4, 2)
        >>> layer.weight = nn.Parameter(torch.ones(2, 3))
        >>> set_sizes(layer)
        >>> layer.in_features
        3
    """


@set_sizes.register
def _(layer: _ConvNd) -> None:
    first, second = layer.weight.shape[-2 - len(layer.kernel_size) :][:2]
    by_channel = layer.groups > 1 and layer.groups == layer.in_channels
    if layer.transposed:
        first, second = second * layer.groups, first // layer.groups
    if by_channel:
        layer.groups = first * layer.groups // layer.out_channels
    layer.out_channels, layer.in_channels = first, second * layer.groups


@set_sizes.register
def _(layer: nn.Linear) -> None:
    layer.out_features, layer.in_features = layer.weight.shape


@set_sizes.register(_BatchNorm)
@set_sizes.register(_InstanceNorm)
def _(layer: nn.Module) -> None:
    tensor = layer.running_mean if layer.weight is None else layer.weight
    layer.num_features = len(tensor)


@set_sizes.register
def _(layer: nn.GroupNorm) -> None:
    layer.num_channels = len(layer.weight)


@set_sizes.register
def _(layer: nn.LayerNorm) -> None:
    layer.normalized_shape = tuple(layer.weight.shape)


@set_sizes.register
def _(layer: nn.PReLU) -> None:
    layer.num_parameters = len(layer.weight)


@set_sizes.register
def _(layer: nn.MultiheadAttention) -> None:
    width = layer.in_proj_weight.shape[1]
    if width % layer.num_heads:
        raise ConfigError(
            f"shapes: a width of {width} for {layer.num_heads} heads: a multiple of "
            "them is accepted"
        )
    layer.embed_dim = layer.kdim = layer.vdim = width
    layer.head_dim = width // layer.num_heads


@set_sizes.register
def _(layer: SPEM) -> None:
    layer.in_channels = layer.w1.shape[1]


def set_channels(model: nn.Module, image_size: Sequence[int] = (224, 224)) -> None:
    """Set what modules say of the channels that they get and give.

    These are the integers `in_channels` and `out_channels` of any module, as a run on
    shapes alone has them; and the `out_channels` and `out_strides` that a pooled
    backbone has.

    Args:
        model (nn.Module): A network on images.
        image_size (Sequence[int]): Height and width in pixels of an image that it
            takes. Default: (224, 224).

    Raises:
        ConfigError: The network does not run on such an image.

    Example:
        >>> from attnpool_mm.pooling import MaxPool2d
        >>> model = nn.Sequential(nn.Conv2d(3, 6, 1), MaxPool2d(8))
        >>> set_channels(model)
        >>> model[1].in_channels
        6
    """
    calls = on_shapes(model, lambda network: trace(network, image_size).calls)
    for call in calls:
        module = model.get_submodule(call.name)
        for name, x in (("in_channels", call.x), ("out_channels", call.y)):
            if x.dim() == 4 and is_int(vars(module).get(name)):
                setattr(module, name, x.shape[1])
    if hasattr(model, "out_strides"):
        set_outputs(model, image_size)
