"""What of a model goes to a device: images in, a flat tuple of tensors out."""

from typing import Any

from torch import Tensor, nn

from ..utils.errors import ConfigError
from ..utils.shapes import empty_input, shapes_only
from ..utils.signatures import package_of

CLASSIFICATION, DETECTION, FEATURES = "classification", "detection", "features"
OUTPUTS = {
    CLASSIFICATION: "logits of the classes, before softmax",
    DETECTION: "the head's maps, which the head of the config decodes to boxes",
    FEATURES: "the maps of backbone and neck, without the heads; of a network of your "
    "own, what it returns",
}


def task_of(model: nn.Module) -> str:
    """What a model's deployed part gives.

    'classification' is an MMPretrain classifier, whole; 'detection' is a one-stage
    detector of MMDetection, up to the maps of its head. 'features' is anything else: of
    another detector, backbone and neck; of a network of your own, what it returns.

    Example:
        >>> task_of(nn.Conv2d(3, 8, 1))
        'features'
    """
    packages = {package_of(kind) for kind in type(model).__mro__}
    if "mmpretrain" in packages and getattr(model, "with_head", False):
        return CLASSIFICATION
    if "mmdet" in packages:
        from mmdet.models import SingleStageDetector

        if isinstance(model, SingleStageDetector):
            return DETECTION
    return FEATURES


class DeployedNetwork(nn.Module):
    """The deployed part of a model, in evaluation.

    Its outputs are a flat tuple; `structure` says how the model nests them.

    Args:
        model (nn.Module): A classifier, a detector, or any network on images. It is set
            to evaluation.

    Attributes:
        task: As in `task_of`.
        structure: Nested lists of the outputs' names as the model returns the outputs;
            known after a forward pass.

    Example:
        >>> import torch
        >>> network = DeployedNetwork(nn.Conv2d(3, 8, 1))
        >>> [y.shape for y in network(torch.rand(1, 3, 4, 4))], network.structure
        ([torch.Size([1, 8, 4, 4])], 'output')
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.task = task_of(model)
        self.structure: Any = None
        self.eval()  # here, outside: MMPretrain's backbones return nothing from it

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Run on images (B, C, H, W), normalised as the model takes them."""
        features = self.task == FEATURES and hasattr(self.model, "extract_feat")
        outputs = self.model.extract_feat(x) if features else self.model(x)
        name = "logits" if self.task == CLASSIFICATION else "output"
        flat: dict[str, Tensor] = {}
        self.structure = _named(outputs, name, flat)
        return tuple(flat.values())

    def names(self) -> list[str]:
        """The names of the outputs, in their order."""
        return flatten(self.structure)


def _named(outputs: Any, name: str, flat: dict[str, Tensor]) -> Any:
    """The names of nested outputs; `flat` gets the tensors by name."""
    if isinstance(outputs, Tensor):
        flat[name] = outputs
        return name
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if not isinstance(outputs, list | tuple):
        raise ConfigError(
            f"the network returns {type(outputs).__name__}: tensors, and lists, tuples "
            "and dicts of them, are accepted"
        )
    return [_named(y, f"{name}_{i}", flat) for i, y in enumerate(outputs)]


def flatten(structure: Any) -> list[str]:
    """The names in a structure, in their order.

    Example:
        >>> flatten([['a', 'b'], 'c'])
        ['a', 'b', 'c']
    """
    if isinstance(structure, str):
        return [structure]
    return [name for part in structure for name in flatten(part)]


def output_shapes(
    network: DeployedNetwork, shape: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """The shapes of a network's outputs, without running it on values.

    Args:
        network (DeployedNetwork): The network.
        shape (tuple[int, ...]): Channels, height and width of an image.

    Raises:
        ConfigError: It does not run on such an image.

    Example:
        >>> output_shapes(DeployedNetwork(nn.Conv2d(3, 8, 3, 2)), (3, 9, 9))
        [(1, 8, 4, 4)]
    """
    with shapes_only(network) as copy, empty_input(copy.model, shape) as x:
        outputs = copy(x)
    network.structure = copy.structure
    return [tuple(y.shape) for y in outputs]
