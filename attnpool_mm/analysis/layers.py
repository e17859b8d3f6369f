"""What a network costs layer by layer: the lines of a table."""

from dataclasses import dataclass

from torch import nn

from .complexity import Complexity

POOLS = ("pool", "maxpool")  # have a line at any depth


@dataclass
class Layer:
    """A module, or the stem, with all that is in it.

    Attributes:
        name: Its name in the whole model.
        level: How deep it stands under its stage, or under neck or head.
        parameters: Number of parameters.
        ran: Whether the forward pass went through it.
        shape: Shape of what its last operation gave.
        flops: FLOPs, a multiplication and an addition being two.
        live_bytes: The most memory that is live while one of its operations runs.
        layer_bytes: The largest input + output of a layer in it.
    """

    name: str
    level: int
    parameters: int = 0
    ran: bool = False
    shape: tuple[int, ...] = ()
    flops: int = 0
    live_bytes: int = 0
    layer_bytes: int = 0


class LayerNames:
    """The layers that a module is in, from the stage inwards.

    A backbone's stages are layers of their own; its stem is what runs before the first
    `layer…`.

    Args:
        complexity (Complexity): What was measured of the whole model.
    """

    def __init__(self, complexity: Complexity):
        names = [op.module.split(".") for op in complexity.operations]
        parts = [name[1] for name in names if name[0] == "backbone" and len(name) > 1]
        stages = [i for i, part in enumerate(parts) if part.startswith("layer")]
        self.stem = set(parts[: stages[0]]) if stages else set()

    def of(self, module: str) -> list[str]:
        """Their names.

        Args:
            module (str): Name of the module in the whole model.
        """
        parts = module.split(".")
        names = [".".join(parts[: i + 1]) for i in range(len(parts))]
        if parts[0] != "backbone" or len(parts) == 1:
            return [name or "model" for name in names]
        stem = ["backbone.stem"] * (parts[1] in self.stem)
        return list(dict.fromkeys(stem + names[1:]))  # some have a module of that name


def list_layers(
    model: nn.Module, complexity: Complexity, depth: int = 0
) -> list[Layer]:
    """List what the layers cost, in the order of the forward pass.

    Modules that did not run come last.

    Args:
        model (nn.Module): The whole model.
        complexity (Complexity): What was measured of it.
        depth (int): How deep to go into the stages. Pools are listed at any depth.
            Default: 0.

    Example:
        >>> from attnpool_mm.analysis import measure_complexity
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1))
        >>> cost = measure_complexity(model, (3, 16, 16))
        >>> [(layer.name, layer.parameters) for layer in list_layers(model, cost)]
        [('0', 224), ('2', 18)]
    """
    names_of = LayerNames(complexity).of
    layers: dict[str, Layer] = {}
    order: dict[str, int] = {}

    def layers_of(module: str) -> list[Layer]:
        names = names_of(module)
        for name in names:
            order.setdefault(name, len(order))
        return [
            layers.setdefault(name, Layer(name, level))
            for level, name in enumerate(names)
            if level <= depth or name.rsplit(".", 1)[-1] in POOLS
        ]

    for op in complexity.operations[1:]:
        for layer in layers_of(op.module):
            layer.ran = True
            layer.shape = op.shape
            layer.flops += op.flops
            layer.live_bytes = max(layer.live_bytes, op.live_bytes)
            layer.layer_bytes = max(layer.layer_bytes, op.layer_bytes)
    for name, parameter in model.named_parameters():
        for layer in layers_of(name.rpartition(".")[0]):
            layer.parameters += parameter.numel()
    return sorted(
        (layer for layer in layers.values() if layer.parameters or layer.layer_bytes),
        key=lambda layer: [order[name] for name in names_of(layer.name)],
    )
