"""A run of a network without values, which notes the calls of its modules."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..utils.checks import is_int
from ..utils.errors import ConfigError


@dataclass
class Call:
    """A call of a module: the first map that it got, and the first that it gave.

    `start` and `end` count the calls that had begun before it began, and ended. `runs`
    counts the calls of its module.
    """

    name: str
    module: nn.Module
    x: Tensor
    y: Tensor
    start: int
    end: int
    runs: int = 1

    @property
    def in_size(self) -> tuple[int, ...]:
        """Height and width of the map that it got, or the number of tokens."""
        return _size(self.x)

    @property
    def out_size(self) -> tuple[int, ...]:
        """Height and width of the map that it gave, or the number of tokens."""
        return _size(self.y)

    @property
    def stride(self) -> tuple[int, ...]:
        """How many times smaller the map becomes, in height and in width."""
        if self.x.dim() != 4 or self.y.dim() != 4:
            return ()
        return tuple(
            round(a / b) for a, b in zip(self.in_size, self.out_size, strict=True)
        )

    def encloses(self, other: "Call") -> bool:
        """Whether the other call ran during this one."""
        return self.start < other.start and other.end <= self.end


@dataclass
class Run:
    """A run of a network without values.

    Attributes:
        image: What it got.
        outputs: The tensors that it returned.
        calls: The first call of each module that takes and gives maps, those inside
            first.
        sequences: Names of the `nn.Sequential`s that ran, '' for the network itself.
    """

    image: Tensor
    outputs: list[Tensor]
    calls: list[Call]
    sequences: set[str]


def trace(network: nn.Module, image_size: Sequence[int]) -> Run:
    """Run a network without values on one image, and note its modules' calls.

    Args:
        network (nn.Module): What `shapes_only` yields, or `on_shapes` hands over.
        image_size (Sequence[int]): Height and width of the image in pixels.

    Raises:
        ConfigError: `image_size` is not two positive integers, or the network does not
            run on an image of 3 channels, of its first convolution's, or of 1.
    """
    calls: dict[str, Call] = {}
    started: list[int] = []
    count = itertools.count()

    def enter(module: nn.Module, args: tuple) -> None:
        started.append(next(count))

    def hook_of(name: str) -> Callable:
        def leave(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            start, end = started.pop(), next(count)
            x, y = _first_map((args, kwargs)), _first_map(output)
            if name in calls:
                calls[name].runs += 1
            elif x is not None and y is not None:
                calls[name] = Call(name, module, x, y, start, end)

        return leave

    handles = []
    for name, module in network.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(
                module.register_forward_hook(hook_of(name), with_kwargs=True)
            )
    try:
        image, outputs = _run_on_image(network, image_size, calls.clear)
    finally:
        for handle in handles:
            handle.remove()
    modules = {"": network} | {name: call.module for name, call in calls.items()}
    sequences = {
        name
        for name, module in modules.items()
        if isinstance(module, nn.Sequential)
        and type(module).forward is nn.Sequential.forward
    }
    return Run(image, outputs, list(calls.values()), sequences)


@contextmanager
def running_modules(network: nn.Module) -> Iterator[list[str]]:
    """The names of the modules of a network that run, the innermost last.

    Where one fails, it is the last.

    Example:
        >>> network = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 8, 1))
        >>> with running_modules(network) as running:
        ...     try:
        ...         y = network(torch.rand(1, 4, 2, 2))
        ...     except RuntimeError:
        ...         print(running)
        ['', '1']
    """
    running: list[str] = []
    names = {module: name for name, module in network.named_modules()}

    def enter(module: nn.Module, args: tuple) -> None:
        running.append(names[module])

    def leave(module: nn.Module, args: tuple, output: Any) -> None:
        running.pop()

    handles = [module.register_forward_pre_hook(enter) for module in names]
    handles += [module.register_forward_hook(leave) for module in names]
    try:
        yield running
    finally:
        for handle in handles:
            handle.remove()


def _run_on_image(
    network: nn.Module, image_size: Sequence[int], forget: Callable[[], None]
) -> tuple[Tensor, list[Tensor]]:
    if (
        not isinstance(image_size, (list, tuple))
        or len(image_size) != 2
        or not all(is_int(side) and side > 0 for side in image_size)
    ):
        raise ConfigError(
            f"image_size={image_size!r}: a height and a width in pixels are accepted"
        )
    channels = dict.fromkeys([3, *_first_channels(network), 1])
    errors = []
    for count in channels:
        x = torch.empty(1, count, *image_size, dtype=_dtype(network))
        try:
            with torch.no_grad():
                outputs = network(x)
        except ConfigError:
            raise
        except Exception as error:  # anything: networks have operators of their own
            errors.append(error)
            forget()
            continue
        return x, tensors_of(outputs)
    size = "x".join(map(str, image_size))
    message = (str(errors[0]) or type(errors[0]).__name__).splitlines()[0]
    raise ConfigError(
        f"{type(network).__name__} does not run on an image of {size}: {message}"
    ) from errors[0]


def tensors_of(values: Any) -> list[Tensor]:
    """The tensors in nested lists, tuples and dicts.

    Example:
        >>> len(tensors_of([torch.ones(1), dict(a=torch.ones(1), b=2)]))
        2
    """
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _first_map(values: Any) -> Tensor | None:
    """The first tensor of 4 dimensions, or else of 3: tokens (B, N, C)."""
    tensors = tensors_of(values)
    for dim in (4, 3):
        for tensor in tensors:
            if tensor.dim() == dim:
                return tensor
    return None


def _size(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape[2:]) if x.dim() == 4 else (x.shape[1],)


def _first_channels(network: nn.Module) -> list[int]:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            return [module.in_channels]
    return []


def _dtype(network: nn.Module) -> torch.dtype:
    dtypes = (p.dtype for p in network.parameters() if p.is_floating_point())
    return next(dtypes, torch.float32)
