"""Pools in the place of strides: the change of a network itself."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from ..pooling import build_pool
from .shrinking import Shrinking


def convert(
    model: nn.Module,
    pairs: Sequence[tuple[Shrinking, dict]],
    position: str,
    sequences: Collection[str],
) -> dict[str, str]:
    """Let places of a network run at stride 1, and put pools there.

    Args:
        model: The network; it is changed.
        pairs: The places, each with the config of its pool.
        position: As in `pool_downsampling`.
        sequences: Names of the `nn.Sequential`s that the network calls; it may take
            the parts of another one by itself.

    Returns:
        The pools' names, each with the name of the module beside it.
    """
    neighbours = {}
    for place, cfg in pairs:
        at, channels = place.name, place.out_channels
        if not place.is_pool and position == "stage_start":
            channels = place.in_channels
        elif not place.is_pool and position == "stage_end":
            at, channels = place.stage_end, place.stage_channels
        pool = _build(model, cfg, channels, place.stride)
        if place.is_pool:
            _replace(model, at, pool)
            neighbours[at] = at
            continue
        for name in place.operators:
            _run_at_stride_1(model, name)
        # Names that tell apart the pools that share a sequence
        path = at.rpartition(".")[0]
        shared = sum(f".{p.name}".startswith(f".{path}." if path else ".")
                     for p, _ in pairs) > 1  # fmt: skip
        put = _put_before if position == "stage_start" else _put_after
        beside = at
        if at in sequences:
            parts = list(dict(model.get_submodule(at).named_children()))
            last = parts[0 if position == "stage_start" else -1]
            beside = f"{at}.{last}" if at else last
        neighbours[put(model, at, pool, sequences, shared)] = beside
    return neighbours


def _build(model: nn.Module, cfg: dict, channels: int, stride: int) -> nn.Module:
    """Build the pool where the network's weights are, and in their data type."""
    like = next(model.parameters())
    usual = torch.get_default_dtype()
    # Not by `Module.to`, which cannot change tensors without values.
    torch.set_default_dtype(like.dtype)
    try:
        with torch.device(like.device):
            pool = build_pool(cfg, channels, stride)
    finally:
        torch.set_default_dtype(usual)
    return pool.train(model.training)


def _run_at_stride_1(model: nn.Module, name: str) -> None:
    """Let a convolution or a pooling layer keep the size of its map."""
    operator = model.get_submodule(name)
    if hasattr(operator, "weight"):
        for module in operator.modules():  # a deformable one has another one in it
            if hasattr(module, "kernel_size") and max(_pair(module.stride)) > 1:
                _set_stride_1(module)
        return
    kernel = _pair(operator.kernel_size)
    if any(side % 2 == 0 for side in kernel):  # as before a projected shortcut
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
        module.register_forward_pre_hook(_PoolInput(name))
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

    def __call__(self, module: nn.Module, args: tuple) -> tuple:
        return getattr(module, self.name)(args[0]), *args[1:]
