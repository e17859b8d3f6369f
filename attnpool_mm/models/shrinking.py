"""Where a network shrinks its map: found by one run on shapes alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import fx, nn
from torch.nn.modules.utils import _pair

from ..pooling import (
    AttentionPool2d,
    BlurPool2d,
    GaussianPool2d,
    StridedConv2d,
    WeightedPool2d,
)
from ..pooling.plain import PlainPool2d
from ..utils.errors import ConfigError
from ..utils.shapes import on_shapes
from .tracing import Call, trace

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
PLAIN_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
# Those of this package; another one that was put into a network gets this attribute
OWN_POOL = "_attnpool_mm_pool"
POOLS = (
    PlainPool2d,
    BlurPool2d,
    WeightedPool2d,
    GaussianPool2d,
    AttentionPool2d,
    StridedConv2d,
)
GLOBAL_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
# What convolutions have, those that derive from none of PyTorch's classes too
OF_CONVOLUTIONS = ("kernel_size", "stride", "padding", "dilation", "weight")


@dataclass(frozen=True)
class Shrinking:
    """A place where a network shrinks its map.

    Attributes:
        name: Name of the module: a block of several convolutions, a convolution with
            its norm and activation, or a pooling layer.
        kind: Class of the module.
        stride: How many times smaller the map becomes.
        in_channels: Channels of the map that it gets.
        out_channels: Channels of the map that it gives.
        in_size: Height and width of the map that it gets.
        out_size: Height and width of the map that it gives.
        operators: Names of the convolutions and pooling layers in it that shrink.
        stage_end: Name of the module that ends its stage: the one around it that
            shrinks as much, or else the last one before the next place.
        stage_channels: Channels of the map at the stage's end.
        is_pool: Whether it is a pooling layer, which a pool replaces.
        is_stem: Whether it belongs to the stem.
        problem: Why no pool can take its place, of the module; '' if one can.
    """

    name: str
    kind: str
    stride: int
    in_channels: int
    out_channels: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    operators: tuple[str, ...]
    stage_end: str
    stage_channels: int
    is_pool: bool = False
    is_stem: bool = False
    problem: str = ""


def find_shrinkings(
    model: nn.Module, image_size: Sequence[int] = (224, 224)
) -> list[Shrinking]:
    """Find where a network shrinks its map, from the image on.

    A copy of the network runs once, without values, which takes next to no time and
    memory. What counts is the innermost block that shrinks: a module of several
    convolutions or linear layers that holds no other block; where there is none, the
    convolution, with what it is wrapped in, or the pooling layer. What shrinks inside
    a module that keeps its map (attention over a smaller map, an exchange between maps
    of several sizes), pooling over the whole map, and what shrinks height or width
    alone, do not count.

    The stem is the first place. If that is no pooling layer, one right after it belongs
    to the stem too, and so do convolutions beside it, and what is in the same part of
    the network, unless all places are.

    Args:
        model (nn.Module): Any module that takes images (B, C, H, W); it is not changed.
        image_size (Sequence[int]): Height and width of the image in pixels. Default:
            (224, 224).

    Raises:
        ConfigError: `image_size` is not two positive integers, or the network does not
            run on such an image.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2))
        >>> [(place.name, place.stride) for place in find_shrinkings(model)]
        [('0', 2), ('2', 2)]
    """
    check_network(model)
    return on_shapes(
        model,
        lambda network: shrinkings_of(network, trace(network, image_size).calls),
    )


def check_network(model: nn.Module) -> None:
    """Check that `model` is a network whose blocks can be told.

    Raises:
        ConfigError: It is no module, or a graph, which has no blocks any more.
    """
    if not isinstance(model, nn.Module) or isinstance(model, fx.GraphModule):
        raise ConfigError(
            f"model of type {type(model).__name__}: a network of modules is accepted, "
            "before it is traced"
        )


def shrinkings_of(network: nn.Module, calls: Sequence[Call]) -> list[Shrinking]:
    """The places that `find_shrinkings` lists, from the calls of a run."""
    return _Finder(network, calls).find()


class _Finder:
    def __init__(self, network: nn.Module, calls: Sequence[Call]):
        self.network = network
        self.calls = {call.name: call for call in calls}
        # Blocks are told from stages by what is in them, so inner ones come first.
        self.blocks: set[str] = set()
        self.stages: set[str] = set()
        for call in calls:
            self._classify(call)

    def _classify(self, call: Call) -> None:
        module = call.module
        if isinstance(module, CONTAINERS) or _is_own_pool(module):
            return
        if _is_convolution(module):
            return
        inside = [n for n in self.blocks | self.stages if n.startswith(f"{call.name}.")]
        if inside:
            self.stages.add(call.name)
            return
        operators = [c for c in self._inside(call) if self._works_on_map(c)]
        spatial = any(
            max(_pair(getattr(c.module, "kernel_size", 1))) > 1 for c in operators
        )
        if len(operators) > 1 and spatial:
            self.blocks.add(call.name)

    def _works_on_map(self, call: Call) -> bool:
        module = call.module
        operator = _is_convolution(module) or isinstance(module, nn.Linear)
        return operator and max(call.in_size) > 1

    def _inside(self, call: Call) -> Iterator[Call]:
        """The calls in a call, of modules in its module."""
        return (
            c
            for c in self.calls.values()
            if c.name.startswith(f"{call.name}.") and call.encloses(c)
        )

    def _around(self, call: Call) -> Iterator[Call]:
        """The calls around a call, of the modules around its module, inner first."""
        name = call.name
        while "." in name:
            name = name.rpartition(".")[0]
            if name in self.calls and self.calls[name].encloses(call):
                yield self.calls[name]

    def find(self) -> list[Shrinking]:
        operators: dict[str, list[str]] = {}
        problems: dict[str, str] = {}
        for name, call in self.calls.items():
            if not self._is_operator(call) or any(
                c.in_size == c.out_size for c in self._around(call)
            ):
                continue
            place = self._place_of(name)
            operators.setdefault(place, []).append(name)
            if not (_is_pool(call.module) or _is_convolution(call.module)):
                problems.setdefault(
                    place,
                    "shrinks its map by no strided convolution or pooling layer"
                    + (f", but by {name}" if name != place else ""),
                )
        names = sorted(operators, key=lambda name: self.calls[name].start)
        return [
            self._shrinking(i, names, operators[name], problems.get(name, ""))
            for i, name in enumerate(names)
        ]

    def _is_operator(self, call: Call) -> bool:
        """Whether it shrinks, and nothing in it does."""
        module = call.module
        if isinstance(module, GLOBAL_POOLS) or not _shrinks(call):
            return False
        if any(_is_own_pool(parent.module) for parent in self._around(call)):
            return False
        if _is_own_pool(module):
            return True
        if isinstance(module, PLAIN_POOLS):
            return max(_pair(module.stride)) > 1
        if _is_convolution(module):  # a deformable one has a strided one in it
            return max(_pair(module.stride)) > 1 and not any(
                _is_convolution(parent.module) for parent in self._around(call)
            )
        whole_map = max(call.out_size) == 1
        return not whole_map and not any(map(_shrinks, self._inside(call)))

    def _place_of(self, name: str) -> str:
        """The block that an operator is in, or what is wrapped around it alone."""
        call = place = self.calls[name]
        if _is_own_pool(call.module):
            return name
        found = 0  # operators side by side in the place: the paths of a block
        for parent in self._around(call):
            if parent.stride != call.stride:
                break
            beside = sum(map(self._is_operator, self._inside(parent)))
            if parent.name in self.blocks | self.stages:
                is_block = beside > 1 or parent.name in self.blocks
                if is_block and beside > found:
                    place, found = parent, beside
                continue
            alone = sum(map(self._works_on_map, self._inside(parent))) == 1
            if not found and alone and _is_convolution(call.module):
                place = parent
        return place.name

    def _shrinking(
        self, index: int, names: list[str], operators: list[str], problem: str
    ) -> Shrinking:
        name = names[index]
        call = self.calls[name]
        x, y = call.in_size, call.out_size
        strides = call.stride
        if not problem and len(set(strides)) > 1:
            problem = f"makes {_by(x)} into {_by(y)}"
        if not problem and call.runs > 1 and _is_pool(call.module):  # it is replaced
            problem = (
                f"runs {call.runs} times in a forward pass; a module each is needed"
            )
        stage_end = self._stage_end(index, names)
        return Shrinking(
            name,
            type(call.module).__name__,
            max(strides, default=1),
            call.x.shape[1],
            call.y.shape[1],
            x,
            y,
            tuple(operators),
            stage_end,
            self.calls[stage_end].y.shape[1],
            _is_pool(call.module),
            self._is_stem(index, names),
            problem,
        )

    def _is_stem(self, index: int, names: list[str]) -> bool:
        if index == 0:
            return True
        first, this = (self.calls[n].module for n in (names[0], names[index]))
        if _is_pool(first):
            return False
        if index == 1 and _is_pool(this):
            return True
        parents = {name.rpartition(".")[0] for name in (names[0], names[index])}
        if len(parents) == 1 and not isinstance(
            self.network.get_submodule(parents.pop()), CONTAINERS
        ):
            return _is_convolution(this) and _is_convolution(first)
        part = f"{names[0].partition('.')[0]}."
        return names[index].startswith(part) and not names[-1].startswith(part)

    def _stage_end(self, index: int, names: list[str]) -> str:
        """The stage around a place, or else what gives the map to the next place."""
        call = self.calls[names[index]]
        around = [c for c in self._around(call) if c.stride == call.stride]
        if around:
            makers = around
        elif index + 1 < len(names):
            following = self.calls[names[index + 1]]
            makers = [
                c
                for c in self.calls.values()
                if c.y is following.x and not c.encloses(following)
            ]
        else:
            makers = [
                c
                for c in self.calls.values()
                if c.out_size == call.out_size
                and c.end >= call.end
                and list(c.module.children())
            ][-1:]
        if not makers:
            return call.name
        # The outermost; of a stage that is no container, the part that gives the map.
        outermost = max(makers, key=lambda c: c.end - c.start)
        if outermost.name not in self.stages:
            return outermost.name
        parts = [
            c
            for c in self._inside(outermost)
            if c.y is outermost.y
            and (c.name in self.blocks or isinstance(c.module, CONTAINERS))
        ]
        return max(parts, key=lambda c: c.end - c.start, default=outermost).name


def _shrinks(call: Call) -> bool:
    """Whether it makes the map at least half as large, or fewer tokens."""
    return min(call.stride, default=1) > 1 or _merges_tokens(call)


def _merges_tokens(call: Call) -> bool:
    """Whether it makes fewer tokens, of a list of them or a channels-last map."""
    x, y = call.x, call.y
    if x.dim() != y.dim():
        return False
    if x.dim() == 3:
        return 1 < y.shape[1] < x.shape[1]
    height, width = x.shape[1] / y.shape[1], x.shape[2] / y.shape[2]
    return height == width >= 2 and y.shape[3] >= x.shape[3]


def _is_pool(module: nn.Module) -> bool:
    return isinstance(module, PLAIN_POOLS) or _is_own_pool(module)


def _is_own_pool(module: nn.Module) -> bool:
    """Whether it is a pool of this package, or one that was put into a network."""
    return isinstance(module, POOLS) or hasattr(module, OWN_POOL)


def _is_convolution(module: nn.Module) -> bool:
    return all(hasattr(module, name) for name in OF_CONVOLUTIONS) and not isinstance(
        module, nn.modules.conv._ConvTransposeNd
    )


def _by(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
