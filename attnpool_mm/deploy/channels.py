"""Which channels of a network go, by torch-pruning's graph of their dependencies."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.errors import ConfigError

ROUNDING = 1e-9  # (1 - 0.8) * 10 is a little less than 2


def least_important(
    graph: Any, outputs: Sequence[Any], ratio: float
) -> Iterator[tuple[nn.Module, Any, list[int]]]:
    """Of each group of layers: its first, what cuts it, and the channels to cut.

    Args:
        graph (Any): torch-pruning's `DependencyGraph`.
        outputs (Sequence[Any]): Its nodes that give the network's outputs, which stay.
        ratio (float): Share of the channels that is cut.

    Raises:
        ConfigError: The channels of a group cannot be ranked, or cannot be cut alike.
    """
    from torch_pruning.pruner.importance import GroupMagnitudeImportance

    importance = GroupMagnitudeImportance()
    for group in graph.get_all_groups():
        if any(
            dep.target in outputs and graph.is_out_channel_pruning_fn(dep.handler)
            for dep, _ in group
        ):
            continue
        layer, function = group[0].dep.target.module, group[0].dep.handler
        scores = importance(group)
        if scores is None:
            raise ConfigError(
                f"{type(graph.model).__name__} cannot be pruned: "
                f"{name_of(graph, layer)}: neither it nor what follows has a norm or a "
                "plain convolution, whose weights rank the channels"
            )
        channels = []
        for segment in _segments(graph, group):
            width = segment.shape[1]
            kept = max(1, math.floor((1 - ratio) * width + ROUNDING))
            order = scores[segment].mean(0).argsort(stable=True)
            channels += segment[:, order[: width - kept]].flatten().tolist()
        if channels:
            yield layer, function, channels


def _segments(graph: Any, group: Any) -> list[Tensor]:
    """The channels that are cut in the same proportion, (parts, width) each.

    They are those of one concatenated layer; the parts are heads, or groups of a
    convolution or a norm, in which the same channels are cut.

    Raises:
        ConfigError: A layer has groups whose channels are not of one layer.
    """
    members = defaultdict(list)
    for i in range(len(group)):
        for channel in group[i].root_idxs:
            members[channel].append(i)
    segments = defaultdict(list)
    for channel, layers in sorted(members.items()):
        segments[tuple(layers)].append(channel)
    parts = _equal_parts(graph, group)
    if parts > 1 and (len(segments) > 1 or len(members) % parts):
        layer = group[0].dep.target.module
        raise ConfigError(
            f"{type(graph.model).__name__} cannot be pruned: {name_of(graph, layer)}: "
            f"{parts} groups or heads have channels of several layers"
        )
    return [torch.tensor(s).view(parts, -1) for s in segments.values()]


def _equal_parts(graph: Any, group: Any) -> int:
    """In how many equal parts the channels of a group are cut alike."""
    counts = [1]
    for dep, _ in group:
        layer = dep.target.module
        pruner = graph.get_pruner_of_module(layer)
        if getattr(layer, "groups", 1) == getattr(layer, "out_channels", 0):
            continue  # a depthwise convolution
        if graph.is_out_channel_pruning_fn(dep.handler):
            counts.append(pruner.get_out_channel_groups(layer))
        else:
            counts.append(pruner.get_in_channel_groups(layer))
    return math.lcm(*counts)


def check_reshapings(graph: Any) -> None:
    """Refuse channels that are mixed by reshaping, which torch-pruning cannot follow.

    Raises:
        ConfigError: A tensor of more than 4 dimensions becomes one of other channels.
    """
    for node in graph.module2node.values():
        sizes = getattr(node.grad_fn, "_saved_self_sym_sizes", ())
        if "View" not in type(node.grad_fn).__name__ or len(sizes) <= 4:
            continue
        (result,) = node.grad_fn._input_metadata
        if result.shape[1] == sizes[1]:
            continue
        named, nodes = None, [node]
        for near in nodes:  # which grows
            named = graph._module2name.get(near.module)
            if named:
                break
            nodes += [n for n in near.inputs if n not in nodes]
        raise ConfigError(
            f"{type(graph.model).__name__} cannot be pruned: after {named} channels "
            f"are reshaped from {tuple(sizes)}, a shuffle or a split of them"
        )


def name_of(graph: Any, layer: nn.Module) -> str:
    """The name of a layer in the network, and its class."""
    return f"{graph._module2name.get(layer)} ({type(layer).__name__})"
