"""What is known of an operation of a forward pass."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Operation:
    """One operation of a forward pass.

    Attributes:
        module: Name of the module that runs it, '' for the network itself.
        name: PyTorch's name of it; 'input' for what comes before all operations.
        shape: Shape of its first result.
        flops: Operations of its products: two for a multiplication and an addition.
        live_bytes: Size of all tensors that live while it runs.
        layer_bytes: Size of its inputs and outputs, if it is a layer: a convolution, a
            matrix product, attention or a pooling; else 0.
        kept_bytes: What a microcontroller's runtime keeps for it from the first
            operation to the last; 0 with fused attention.
    """

    module: str
    name: str
    shape: tuple[int, ...]
    flops: int = 0
    live_bytes: int = 0
    layer_bytes: int = 0
    kept_bytes: int = 0


@dataclass
class Recorded:
    """An operation and its tensors, which are numbers in the recorder's list.

    Attributes:
        operation: What is reported of it.
        reads: The tensors that it reads, of those that depend on the input.
        writes: The tensors that it makes.
        arguments: What it was called with, by the names in PyTorch's schema.
        is_layer: Whether its inputs and outputs are counted as a layer's.
        in_place: Whether it may write over an input that nothing reads any more.
    """

    operation: Operation
    reads: list[int] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)
    is_layer: bool = False
    in_place: bool = False
