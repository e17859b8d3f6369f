"""What a network costs: parameters, FLOPs, activation memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ..utils.checks import check_choice, check_int
from .activation import record_operations
from .recorded import Operation

ATTENTION = ("fused", "unfused")


@dataclass
class Complexity:
    """What a network costs on an input of one size, at batch 1.

    Attributes:
        parameters: Number of parameters.
        operations: Its operations in their order, 'input' first.
        planned_bytes: What a microcontroller's runtime sets aside for the activations:
            the peak and the gaps between tensors; 0 with fused attention.
    """

    parameters: int
    operations: list[Operation]
    planned_bytes: int = 0

    @property
    def flops(self) -> int:
        """FLOPs of the whole network, a multiplication and an addition being two."""
        return sum(operation.flops for operation in self.operations)

    @property
    def multiply_adds(self) -> int:
        """Half the FLOPs: a multiplication and the addition of its product are one.

        OpenMMLab's metafiles give these as FLOPs. MMCV's counter, which theirs are
        from, also counts norms, activations and poolings, here none: for ResNet-50 at
        224x224 it gives 4.12 G, and this 4.09 G.
        """
        return self.flops // 2

    @property
    def flops_by_module(self) -> dict[str, int]:
        """FLOPs of each module that ran, those of its submodules included."""
        flops = {"": 0}
        for operation in self.operations:
            names = operation.module.split(".") if operation.module else []
            for i in range(len(names) + 1):
                name = ".".join(names[:i])
                flops[name] = flops.get(name, 0) + operation.flops
        return flops

    @property
    def peak(self) -> Operation:
        """The first operation at which the most memory is live: `live_bytes`."""
        return max(self.operations, key=lambda operation: operation.live_bytes)

    @property
    def kept_bytes(self) -> int:
        """What a microcontroller's runtime keeps beside the activations."""
        return sum(operation.kept_bytes for operation in self.operations)

    @property
    def arena_bytes(self) -> int:
        """What a microcontroller's runtime needs in all, but for the weights.

        TensorFlow Lite Micro calls it the arena. With fused attention it is the peak.
        """
        return max(self.planned_bytes, self.peak.live_bytes) + self.kept_bytes

    @property
    def largest_layer(self) -> Operation:
        """The first operation with the largest inputs and outputs: `layer_bytes`."""
        return max(self.operations, key=lambda operation: operation.layer_bytes)


def measure_complexity(
    model: nn.Module,
    shape: Sequence[int],
    bytes_per_value: int = 1,
    method: str = "forward",
    attention: str = "fused",
) -> Complexity:
    """Measure parameters, FLOPs and activation memory of a network in evaluation.

    FLOPs are those of convolutions and matrix products, attention's included, as
    `torch.utils.flop_counter` counts them: a multiplication and an addition are two.
    A deformable convolution has as many as a plain one of its shape (the sampling is
    not counted). Products of weights alone are none.

    Memory is measured in two ways. `peak.live_bytes` is the most that is live at a time
    if the operations run in the order of the forward pass. `largest_layer.layer_bytes`
    is the simpler measure that many papers give, the largest input + output of a layer;
    it leaves out what lives beside the layer, such as the shortcut of a residual block,
    and is never larger.

    `attention` says for which runtime. "fused" is an ideal one: what can works in
    place, and attention makes no matrix of tokens × tokens; `attnpool_mm.analysis.
    activation` has the rules. "unfused" is one without an operator for attention, as
    TensorFlow Lite Micro: nothing works in place, padding and changes of shape are
    copies, and `arena_bytes` has what the kernels keep too; `attnpool_mm.analysis.
    device` has the rules. A network that `attnpool_mm.deploy.tiling.tile_attention`
    has changed is counted as it then runs, block by block.

    A copy of the network runs once, without values, which takes next to no time and
    memory at any size of the input.

    Args:
        model (nn.Module): Any module; it is not changed.
        shape (Sequence[int]): Shape of the input without the batch, (C, H, W) for an
            image.
        bytes_per_value (int): Bytes of a value of an activation, 1 for 8-bit
            quantisation. Default: 1.
        method (str): Name of the method that runs. 'extract_feat' is backbone and neck
            of OpenMMLab's classifiers and detectors. Default: 'forward'.
        attention (str): "fused" or "unfused". Default: 'fused'.

    Raises:
        ConfigError: `shape` or `bytes_per_value` is not made of positive integers,
            `attention` is another word, or the network does not run on such an input.

    Example:
        >>> block = nn.Sequential(
        ...     nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2))
        >>> cost = measure_complexity(block, (3, 32, 32))
        >>> cost.parameters, cost.flops == 2 * 32 * 32 * 8 * 3 * 3 * 3
        (224, True)
        >>> cost.peak.module, cost.peak.live_bytes == 32 * 32 * (3 + 8)
        ('0', True)
        >>> strided = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        >>> device = measure_complexity(strided, (8, 32, 32), attention="unfused")
        >>> device.peak.name, device.peak.live_bytes == 8 * (32 * 32 + 34 * 34)
        ('pad', True)
    """
    check_int("bytes_per_value", bytes_per_value)
    check_choice("attention", attention, ATTENTION)
    operations, planned = record_operations(
        model, shape, bytes_per_value, method, attention
    )
    parameters = sum(p.numel() for p in model.parameters())
    return Complexity(parameters, operations, planned)
