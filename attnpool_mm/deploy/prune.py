"""Structured pruning: fewer channels in every layer, by torch-pruning."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import DynamicConv2d
from ..models.tracing import running_modules, tensors_of
from ..pooling import DeformableSelfAttentivePool2d
from ..utils.checks import check_number, check_shape
from ..utils.errors import ConfigError
from ..utils.extras import require
from ..utils.shapes import empty_input, shapes_only
from .channels import check_reshapings, least_important, name_of
from .stand_ins import stand_ins


def prune_network(
    model: nn.Module,
    shape: Sequence[int],
    ratio: float = 0.5,
    method: str = "forward",
) -> nn.Module:
    """Cut the least important channels of every layer of a network.

    Channels that depend on one another are cut together (torch-pruning's dependency
    graph): those of a residual sum, for example, and of a self-attentive pool the map's
    with the weights', and the tokens' in embedding, norm, positions, attention and
    restoration. A layer of n channels keeps ⌊(1 - ratio) n⌋, at least one; attention
    loses as many in each head, a grouped convolution in each group. The importance of a
    channel is the mean over its layers of the squared norm of its weights
    (`GroupMagnitudeImportance`). What goes in and what comes out keeps its channels.

    What is left computes what the network would with zeros for all that is cut, but for
    norms over several channels (group norm, layer norm), whose statistics change.

    Args:
        model (nn.Module): The network; it is not changed.
        shape (Sequence[int]): Shape of an image, (C, H, W).
        ratio (float): Share of the channels that is cut, between 0 and 1. Default: 0.5.
        method (str): Name of the method that runs. 'extract_feat' is backbone and neck
            of OpenMMLab's classifiers and detectors; its maps keep their channels.
            Default: 'forward'.

    Returns:
        A copy in evaluation mode. Without
        torch-pruning, `pruned_model` builds it from the shapes of its tensors
        (`changed_shapes`).

    Raises:
        ConfigError: An argument is out of range, torch-pruning is not installed, or
            the network cannot be pruned; the message names the module.

    Source:
        "DepGraph: Towards Any Structural Pruning", CVPR 2023, arXiv 2301.12900.

    Example:
        >>> from attnpool_mm.pooling import SelfAttentivePool2d
        >>> model = nn.Sequential(
        ...     nn.Conv2d(3, 16, 3), SelfAttentivePool2d(16), nn.Conv2d(16, 4, 1))
        >>> pruned = prune_network(model, (3, 32, 32), ratio=0.5)
        >>> pruned[1].attention.embed_dim, pruned[2].weight.shape
        (8, torch.Size([4, 8, 1, 1]))
    """
    check_ratio(ratio)
    shape = check_shape(shape, sides=3)
    _check_layers(model)
    kind = type(model).__name__
    if not any(True for _ in model.parameters()):
        raise ConfigError(f"{kind} cannot be pruned: it has no parameters")
    network = deepcopy(model)
    at = "its channels"
    try:
        graph, outputs = _dependencies(network, shape, method)
        chosen = list(least_important(graph, outputs, ratio))
        for layer, function, channels in chosen:
            at = f"the channels of {name_of(graph, layer)}"
            graph.get_pruning_group(layer, function, channels).prune()
    except ConfigError:
        raise
    except Exception as error:  # anything: networks have operators of their own
        raise ConfigError(
            f"{kind} cannot be pruned: torch-pruning cannot follow {at}: "
            f"{_first_line(error)}"
        ) from error
    if not chosen:
        raise ConfigError(f"{kind} cannot be pruned: no layer has channels to cut")
    _check_outputs(model, network, shape, method)
    return network


def check_ratio(ratio: float) -> None:
    """Check the share of channels that is to go, and that torch-pruning is there.

    Raises:
        ConfigError: It is not between 0 and 1, or torch-pruning is not installed.

    Example:
        >>> check_ratio(0.5)
    """
    check_number("ratio", ratio, above=0, below=1)
    require("torch_pruning", "prune")


def _check_layers(model: nn.Module) -> None:
    """Refuse what is not cut here.

    Raises:
        ConfigError: A module is one of these.
    """
    for name, module in model.named_modules():
        problem = None
        if isinstance(module, DynamicConv2d) and module.groups > 1:
            problem = "a grouped dynamic convolution is not cut"
        elif isinstance(module, DeformableSelfAttentivePool2d) and isinstance(
            module.offset, DynamicConv2d
        ):
            problem = "offsets by a dynamic convolution are not cut"
        if problem:
            raise ConfigError(
                f"{type(model).__name__} cannot be pruned: {name} "
                f"({type(module).__name__}): {problem}"
            )


def _dependencies(
    network: nn.Module, shape: Sequence[int], method: str
) -> tuple[Any, list[Any]]:
    """torch-pruning's graph of the network, and the nodes that give its outputs."""
    from torch_pruning.dependency import DependencyGraph

    from .pruners import PRUNERS

    made: list[Tensor] = []
    # What layers give that no output depends on has channels, too.
    aside: list[Tensor] = []

    def run(network: nn.Module, image: Tensor) -> list[Tensor]:
        network.requires_grad_(True)  # evaluation mode may have frozen some
        handles = [
            layer.register_forward_hook(lambda _, x, y: aside.extend(tensors_of(y)))
            for layer in network.modules()
            if not any(layer.children())
        ]
        with stand_ins(network), running_modules(network) as running:
            try:
                made.extend(tensors_of(getattr(network, method)(image)))
            except Exception as error:  # anything, as above
                raise _failure(network, running, error) from error
        for handle in handles:
            handle.remove()
        return made + [y for y in aside if y.grad_fn is not None]

    graph = DependencyGraph().build_dependency(
        network,
        torch.rand(1, *shape).to(next(network.parameters())),
        forward_fn=run,
        customized_pruners=PRUNERS,
        verbose=False,
    )
    check_reshapings(graph)
    last = [tensor.grad_fn for tensor in made]
    return graph, [n for n in graph.module2node.values() if n.grad_fn in last]


def _check_outputs(
    model: nn.Module, pruned: nn.Module, shape: Sequence[int], method: str
) -> None:
    """Run both on shapes alone.

    Raises:
        ConfigError: The pruned network does not run, or gives other shapes.
    """
    given = []
    for network in (model, pruned):
        with shapes_only(network) as copy, empty_input(copy, shape) as image:
            with running_modules(copy) as running:
                try:
                    y = tensors_of(getattr(copy, method)(image))
                except Exception as error:  # anything, as above
                    raise _failure(copy, running, error) from error
            given.append([tuple(tensor.shape) for tensor in y])
    if given[0] != given[1]:
        raise ConfigError(
            f"{type(model).__name__} cannot be pruned: its outputs of {given[0]} would "
            f"become {given[1]}"
        )


def _failure(
    network: nn.Module, running: Sequence[str], error: Exception
) -> ConfigError:
    name = running[-1] if running else ""
    at = type(network.get_submodule(name)).__name__
    return ConfigError(
        f"{type(network).__name__} cannot be pruned: {name or 'it'} ({at}) fails: "
        f"{_first_line(error)}"
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
