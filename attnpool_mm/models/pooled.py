"""Any pool wherever any network shrinks its map."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..registry import MODELS
from ..utils.checks import check_choice, is_int
from ..utils.errors import ConfigError
from ..utils.shapes import on_shapes
from .conversion import convert
from .shrinking import Shrinking, check_network, shrinkings_of
from .tracing import running_modules, tensors_of, trace

POSITIONS = ("block_end", "stage_end", "stage_start")
# What PyTorch says where an operation needs values of a tensor that has none
OF_VALUES = ("_local_scalar_dense", "not supported for tensor subclasses")
LARGE = 2**10 * 3**2  # pixels: strides of usual networks divide it


def pool_downsampling(
    model: nn.Module,
    pool_cfg: dict | Sequence[dict | None],
    stages: Sequence[int | str] | None = None,
    position: str = "block_end",
    image_size: Sequence[int] = (224, 224),
) -> nn.Module:
    """Let a network shrink its map by pools instead of strided convolutions.

    Where the network shrinks its map (`find_shrinkings` says where), it runs at stride
    1 from then on, and a pool does what the stride did. A pooling layer is replaced
    where it stands. The names in the state dict stay, so that weights of the plain
    network load, with only the pools' missing (`…pool.…`, or the replaced layer's).

    The network is changed in place. `out_channels` and `out_strides`, what each output
    has, are set where all outputs are maps (an `out_channels` that a network outside of
    OpenMMLab has stays). What the network does with its parts goes on working:
    freezing, `norm_eval`, checkpointing, layer-wise learning rates. Make the optimizer
    afterwards: one that is there does not know the pools. A second call replaces the
    pools of the first, where they stand.

    Args:
        model (nn.Module): A network on images (B, C, H, W), built from modules:
            PyTorch's, torchvision's, timm's, OpenMMLab's or your own.
        pool_cfg (dict | Sequence[dict | None]): The pool, `dict(type=…, …)` as in
            `build_pool`, or a list with one, or None (the place stays as it is), a
            place.
        stages (Sequence[int | str] | None): The places, by index (0 is the first, see
            `find_shrinkings` or `tools/misc/print_arch.py`) or by the name of a module
            at or around them. Default: all but the stem's.
        position (str): Where the pool goes: 'block_end', after the block that shrank;
            'stage_end', after the stage around it, or without one after the last block
            before the next place, so that the whole stage runs at full resolution;
            'stage_start', before the block. Default: 'block_end'.
        image_size (Sequence[int]): Height and width in pixels of an image that the
            network takes. Only shapes are made of it. Default: (224, 224).

    Returns:
        `model` itself.

    Raises:
        ConfigError: A place is not there, or cannot be pooled; an argument is not one
            of the accepted values; the network does not run on such an image. Then
            `model` is as it was.

    Source:
        The placements are those of "Self-Attentive Pooling for Efficient Deep
        Learning", WACV 2023, arXiv 2209.07659, whose `_v2` networks pool at
        'block_end', the other ResNets at 'stage_end', the MobileNets at 'stage_start'.

    Example:
        >>> model = nn.Sequential(
        ...     nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1))
        >>> model = pool_downsampling(model, dict(type='LocalImportancePool2d'))
        >>> model(torch.rand(1, 3, 32, 32)).shape
        torch.Size([1, 16, 8, 8])
        >>> [name for name, _ in model.named_children()]
        ['0', '1', '2', 'pool']
    """
    check_choice("position", position, POSITIONS)
    check_network(model)

    def convert_copy(network: nn.Module) -> tuple[list, set[str], list]:
        run = trace(network, image_size)
        places = shrinkings_of(network, run.calls)
        chosen = _choose(model, places, stages)
        cfgs = _by_place(pool_cfg, chosen)
        pairs = [
            (p, cfg) for p, cfg in zip(chosen, cfgs, strict=True) if cfg is not None
        ]
        for place, _ in pairs:
            if place.problem:
                raise ConfigError(
                    f"{type(model).__name__} cannot be pooled: {place.name} "
                    f"({place.kind}) {place.problem}"
                )
        # On the copy first: what fails there leaves the model as it is.
        pools = convert(network, pairs, position, run.sequences)
        strides = {
            name: place.stride for name, (place, _) in zip(pools, pairs, strict=True)
        }
        outputs = _run_converted(network, strides, run.image)
        _check_outputs(network, run.outputs, outputs)
        return pairs, run.sequences, _given(network, run.image, outputs)

    pairs, sequences, given = on_shapes(model, convert_copy)
    modes = {module: module.training for module in model.modules()}
    neighbours = convert(model, pairs, position, sequences)
    _set_outputs(model, given)
    if hasattr(model, "get_layer_depth"):
        known = getattr(model.get_layer_depth, "neighbours", {})
        model.get_layer_depth = _LayerDepth(model, neighbours | known)
    model.train(model.training)  # which freezes anew what the network wants frozen
    for module, training in modes.items():
        module.training = training
    return model


@MODELS.register_module(name="PooledBackbone")
def pooled_backbone(
    backbone: dict | nn.Module,
    pool_cfg: dict | Sequence[dict | None] | None,
    stages: Sequence[int | str] | None = None,
    position: str = "block_end",
    image_size: Sequence[int] = (224, 224),
) -> nn.Module:
    """Build a backbone of any framework, and pool its map as `pool_downsampling` does.

    In a config its name is `PooledBackbone`.

    Args:
        backbone (dict | nn.Module): Config of the backbone, e.g.
            `dict(type='mmpretrain.RegNet', …)`, or the backbone.
        pool_cfg (dict | Sequence[dict | None] | None): As in `pool_downsampling`, as
            are the others. None pools nothing.
        stages (Sequence[int | str] | None): Default: all places but the stem's.
        position (str): 'block_end', 'stage_end' or 'stage_start'. Default: 'block_end'.
        image_size (Sequence[int]): Height and width in pixels. Default: (224, 224).

    Returns:
        The backbone, an object of its own class.

    Raises:
        ConfigError: As in `pool_downsampling`.

    Example:
        >>> backbone = pooled_backbone(
        ...     dict(type='mmpretrain.RegNet', arch='regnetx_400mf',
        ...          out_indices=(0, 1, 2, 3)),
        ...     dict(type='LocalImportancePool2d'))
        >>> backbone.out_channels, backbone.out_strides
        ((32, 64, 160, 384), (4, 8, 16, 32))
    """
    if not isinstance(backbone, nn.Module):
        backbone = MODELS.build(backbone)
    if pool_cfg is None:
        set_outputs(backbone, image_size)
        return backbone
    return pool_downsampling(backbone, pool_cfg, stages, position, image_size)


def set_outputs(model: nn.Module, image_size: Sequence[int] = (224, 224)) -> None:
    """Set `out_channels` and `out_strides` of a network from a run on shapes alone.

    Args:
        model (nn.Module): A network whose outputs are maps; another stays as it is.
        image_size (Sequence[int]): Height and width in pixels of an image that it
            takes. Default: (224, 224).

    Raises:
        ConfigError: The network does not run on such an image.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1))
        >>> set_outputs(model)
        >>> model.out_channels, model.out_strides
        ((8,), (2,))
    """

    def outputs_of(network: nn.Module) -> list[tuple[int, int]]:
        run = trace(network, image_size)
        return _given(network, run.image, run.outputs)

    _set_outputs(model, on_shapes(model, outputs_of))


def _given(
    network: nn.Module, image: Tensor, outputs: list[Tensor]
) -> list[tuple[int, int]]:
    """Channels and stride of each output; none where one is no map."""
    if not all(out.dim() == 4 for out in outputs):
        return []
    if image.shape[2] < LARGE:
        # Beside which the pixels that are dropped or padded do not count
        large = image.new_empty(*image.shape[:2], LARGE, LARGE)
        try:
            with torch.no_grad():
                image, outputs = large, tensors_of(network(large))
        except Exception:  # anything: a network may take images of one size alone
            pass
    return [(out.shape[1], round(image.shape[2] / out.shape[2])) for out in outputs]


def _set_outputs(model: nn.Module, given: list[tuple[int, int]]) -> None:
    if not given:
        return
    channels, model.out_strides = zip(*given, strict=True)
    # An attribute of this name that a network of one's own has may mean another thing.
    openmmlab = hasattr(model, "init_cfg")
    if openmmlab or not hasattr(model, "out_channels"):
        model.out_channels = channels


def _choose(model: nn.Module, places: list[Shrinking], stages: Any) -> list[Shrinking]:
    name = type(model).__name__
    if stages is None:
        chosen = [place for place in places if not place.is_stem]
        if not chosen:
            listed = f"; in the stem: {describe(places)}" if places else ""
            listed += "".join(f"; {p.name} {p.problem}" for p in places if p.problem)
            raise ConfigError(f"{name} does not shrink its map past the stem{listed}")
        return chosen
    if not isinstance(stages, (list, tuple)) or not stages:
        raise ConfigError(
            f"stages={stages!r}: a list is accepted, of indices or names of "
            f"{describe(places)}"
        )
    indices: dict[int, None] = {}  # in the order of `stages`, which pool_cfg follows
    for stage in stages:
        found = [
            i
            for i, place in enumerate(places)
            if (is_int(stage) and i == stage)
            or (isinstance(stage, str) and f"{place.name}.".startswith(f"{stage}."))
        ]
        if not found:
            raise ConfigError(
                f"stages: {stage!r}: {name} shrinks its map at {describe(places)}"
            )
        indices |= dict.fromkeys(found)
    return [places[i] for i in indices]


def describe(places: Sequence[Shrinking]) -> str:
    """The places' indices and names in a line.

    Example:
        >>> from attnpool_mm.models import find_shrinkings
        >>> describe(find_shrinkings(nn.Sequential(nn.Conv2d(3, 8, 2, 2))))
        '0: 0'
    """
    return ", ".join(f"{i}: {place.name}" for i, place in enumerate(places)) or "none"


def _by_place(pool_cfg: Any, places: list[Shrinking]) -> list[dict | None]:
    cfgs = [pool_cfg] * len(places) if isinstance(pool_cfg, dict) else pool_cfg
    if not isinstance(cfgs, (list, tuple)) or len(cfgs) != len(places):
        raise ConfigError(
            f"pool_cfg={pool_cfg!r}: a dict, or a list of {len(places)} (a dict or "
            f"None each) is accepted, for {', '.join(p.name for p in places)}"
        )
    for cfg in cfgs:
        if cfg is not None and (not isinstance(cfg, dict) or "stride" in cfg):
            raise ConfigError(
                f"pool_cfg entry {cfg!r}: a dict without 'stride' is accepted; the "
                "network gives the stride"
            )
    return list(cfgs)


def _run_converted(
    network: nn.Module, pools: Mapping[str, int], image: Tensor
) -> list[Tensor]:
    """Run the converted copy, in which each pool must run once, and do its work.

    Args:
        network (nn.Module): The copy.
        pools (Mapping[str, int]): The name of each pool, and its stride.
        image (Tensor): What the network gets.

    Raises:
        ConfigError: It does not run, or a pool does not.
    """
    ran = Counter[str]()
    wrong: list[str] = []
    kind = type(network).__name__

    def note(name: str, pool: nn.Module, args: tuple, kwargs: dict, y: Tensor) -> None:
        ran.update([name])
        (x, *_), stride = (*args, *kwargs.values()), pools[name]
        most = [side / stride + 1 for side in x.shape[2:]]  # a large window: fewer
        if (
            y.dim() != 4
            or y.shape[:2] != x.shape[:2]
            or any(side > limit for side, limit in zip(y.shape[2:], most, strict=True))
        ):
            wrong.append(
                f"{kind} cannot be pooled: its {name} ({type(pool).__name__}) makes "
                f"{tuple(x.shape)} into {tuple(y.shape)}; a pool keeps the channels, "
                f"and makes this map {stride} times smaller"
            )

    for name in pools:
        network.get_submodule(name).register_forward_hook(
            partial(note, name), with_kwargs=True
        )
    try:
        with torch.no_grad(), running_modules(network) as running:
            outputs = tensors_of(network(image))
    except Exception as error:  # anything: networks have operators of their own
        if wrong:
            raise ConfigError(wrong[0]) from error
        at = running[-1]
        message = (str(error) or type(error).__name__).splitlines()[0]
        if any(word in message for word in OF_VALUES):
            message = "it looks at values, and must run on shapes alone"
        raise ConfigError(
            f"{kind} cannot be pooled: at stride 1 {at or kind} "
            f"({type(network.get_submodule(at)).__name__}) fails: {message}"
        ) from error
    if wrong:
        raise ConfigError(wrong[0])
    for name in pools:
        if ran[name] != 1:
            raise ConfigError(
                f"{kind} cannot be pooled: its forward pass runs {name} {ran[name]} "
                "times"
            )
    return outputs


def _check_outputs(
    network: nn.Module, plain: Sequence[Tensor], pooled: Sequence[Tensor]
) -> None:
    """Check that the outputs have the shapes that they had, but for a pixel.

    Pools drop rows and columns that fill no window, strided convolutions pad them.

    Raises:
        ConfigError: They have others.
    """
    for before, after in zip(plain, pooled, strict=True):
        if len(before.shape) != len(after.shape) or any(
            abs(a - b) > (i > 1)
            for i, (a, b) in enumerate(zip(before.shape, after.shape, strict=True))
        ):
            raise ConfigError(
                f"{type(network).__name__} cannot be pooled there: its output of "
                f"{tuple(before.shape)} becomes {tuple(after.shape)}; it is taken "
                "before the pool (another position may do), or shrunk by no module"
            )


class _LayerDepth:
    """`get_layer_depth` of a network in which a pool counts as the block beside it.

    Args:
        model (nn.Module): The network.
        neighbours (dict[str, str]): The names of the pools, each with that of the
            module beside it.
    """

    def __init__(self, model: nn.Module, neighbours: dict[str, str]):
        self.model = model
        self.neighbours = neighbours

    def __call__(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """The depth of a parameter, and the number of depths."""
        for pool, neighbour in self.neighbours.items():
            if param_name.startswith(f"{prefix}{pool}."):
                last = param_name.rpartition(".")[2]
                param_name = f"{prefix}{neighbour}.{last}"
        return type(self.model).get_layer_depth(self.model, param_name, prefix)
