"""Pools in the place of strides: the change of a network itself."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from ..pooling import build_pool
from .shrinking import OWN_POOL, Shrinking


def convert(
    model: nn.Module,
    pairs: Sequence[tuple[Shrinking, dict]],
    position: str,
    sequences: Collection[str],
) -> dict[str, str]:
    """Let places of a network run at stride 1, and put pools there.

    Args:
        model (nn.Module): The network; it is changed.
        pairs (Sequence[tuple[Shrinking, dict]]): The places, each with the config of
            its pool.
        position (str): As in `pool_downsampling`.
        sequences (Collection[str]): Names of the `nn.Sequential`s that the network
            calls; it may take the parts of another one by itself.

    Returns:
        The pools' names, each with the name of the module beside it.
    """
    pools = [  # all of them, before anything changes
        _build(model, cfg, _channels(place, position), place.stride)
        for place, cfg in pairs
    ]
    neighbours = {}
    for (place, _), pool in zip(pairs, pools, strict=True):
        if place.is_pool:
            _replace(model, place.name, pool)
            neighbours[place.name] = place.name
            continue
        for name in place.operators:
            _run_at_stride_1(model, name)
        at = beside = place.stage_end if position == "stage_end" else place.name
        if at in sequences:
            parts = list(dict(model.get_submodule(at).named_children()))
            last = parts[0 if position == "stage_start" else -1]
            beside = f"{at}.{last}" if at else last
        # Names that tell apart the pools that share a sequence
        path = at.rpartition(".")[0]
        prefix = f".{path}." if path else "."
        shared = sum(f".{p.name}".startswith(prefix) for p, _ in pairs) > 1
        put = _put_before if position == "stage_start" else _put_after
        neighbours[put(model, at, pool, sequences, shared)] = beside
    return neighbours


def _channels(place: Shrinking, position: str) -> int:
    if place.is_pool or position == "block_end":
        return place.out_channels
    return place.in_channels if position == "stage_start" else place.stage_channels


def _build(model: nn.Module, cfg: dict, channels: int, stride: int) -> nn.Module:
    """Build the pool where the network's weights are, and in their data type."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.ones(1))
    usual = torch.get_default_dtype()
    # Not by `Module.to`, which cannot change tensors without values.
    torch.set_default_dtype(like.dtype)
    try:
        with torch.device(like.device):
            pool = build_pool(cfg, channels, stride)
    finally:
        torch.set_default_dtype(usual)
    setattr(pool, OWN_POOL, True)
    return pool.train(model.training)


def _run_at_stride_1(model: nn.Module, name: str) -> None:
    """Let a convolution or a pooling layer keep the size of its map."""
    operator = model.get_submodule(name)
    if hasattr(operator, "weight"):
        for module in operator.modules():  # a deformable one has another one in it
            if hasattr(module, "kernel_size") and max(_pair(module.stride)) > 1:
                _set_stride_1(module)
        return
    kernel, stride = _pair(operator.kernel_size), _pair(operator.stride)
    apart = kernel == stride and not any(_pair(operator.padding))
    if apart or any(side % 2 == 0 for side in kernel):  # as before a shortcut
        _replace(model, name, nn.Identity())
    else:
        operator.stride = 1
        operator.padding = tuple(side // 2 for side in kernel)


def _set_stride_1(conv: nn.Module) -> None:
    conv.stride = 1 if isinstance(conv.stride, int) else (1, 1)
    # A class with a forward pass of its own pads by rules of its own.
    if type(conv).forward is nn.Conv2d.forward and not isinstance(conv.padding, str):
        sides = zip(conv.padding, conv.dilation, conv.kernel_size, strict=True)
        if any(2 * padding != step * (side - 1) for padding, step, side in sides):
            conv.padding = "same"
            # What the other padding modes go by: left, right, from the last axis on
            conv._reversed_padding_repeated_twice = [
                half
                for step, side in zip(
                    conv.dilation[::-1], conv.kernel_size[::-1], strict=True
                )
                for half in (step * (side - 1) // 2, (step * (side - 1) + 1) // 2)
            ]


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    path, _, child = name.rpartition(".")
    setattr(model.get_submodule(path), child, module)


def _put_after(
    model: nn.Module,
    name: str,
    pool: nn.Module,
    sequences: Collection[str],
    shared: bool,
) -> str:
    """Let the pool follow a module; returns the pool's name."""
    path, _, child = name.rpartition(".")
    module, parent = model.get_submodule(name), model.get_submodule(path)
    if name in sequences:
        return _insert(module, name, len(module), pool, "pool")
    if path not in sequences:
        return _attach(module, name, pool, after=True)
    names, modules = zip(*parent.named_children(), strict=True)
    at = names.index(child) + 1
    while at < len(modules) and _is_norm_or_activation(modules[at]):
        at += 1
    return _insert(parent, path, at, pool, f"pool{child}" if shared else "pool")


def _put_before(
    model: nn.Module,
    name: str,
    pool: nn.Module,
    sequences: Collection[str],
    shared: bool,
) -> str:
    """Let the pool precede a module; returns the pool's name."""
    path, _, child = name.rpartition(".")
    module, parent = model.get_submodule(name), model.get_submodule(path)
    if name in sequences:
        return _insert(module, name, 0, pool, "pool")
    if path not in sequences:
        return _attach(module, name, pool, after=False)
    at = list(dict(parent.named_children())).index(child)
    return _insert(parent, path, at, pool, f"pool{child}" if shared else "pool")


def _is_norm_or_activation(module: nn.Module) -> bool:
    norm = hasattr(module, "eps") or isinstance(module, nn.PReLU)
    plain = not hasattr(module, "weight") and not hasattr(module, "kernel_size")
    return not list(module.children()) and (norm or plain)


def _insert(
    parent: nn.Sequential, path: str, at: int, pool: nn.Module, name: str
) -> str:
    """Add the pool to the modules, which run in this order; their names stay."""
    name = _free_name(parent, name)
    modules = list(parent._modules.items())
    parent._modules.clear()
    for key, module in [*modules[:at], (name, pool), *modules[at:]]:
        parent.add_module(key, module)
    return f"{path}.{name}" if path else name


def _attach(module: nn.Module, path: str, pool: nn.Module, after: bool) -> str:
    """Let a module pool what it returns, or what it gets."""
    name = _free_name(module, "pool")
    module.add_module(name, pool)
    if after:
        module.register_forward_hook(_PoolOutput(name))
    else:
        module.register_forward_pre_hook(_PoolInput(name), with_kwargs=True)
    return f"{path}.{name}"


def _free_name(module: nn.Module, name: str) -> str:
    while hasattr(module, name):  # Res2Net's blocks have a `pool`
        name += "_"
    return name


class _PoolOutput:
    """Forward hook of a module that has a pool: pools what the module returns."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        return getattr(module, self.name)(output)


class _PoolInput:
    """Forward hook of a module that has a pool: pools what the module gets."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple:
        pool = getattr(module, self.name)
        if args:
            return (pool(args[0]), *args[1:]), kwargs
        first, *others = kwargs
        return args, {first: pool(kwargs[first])} | {k: kwargs[k] for k in others}
