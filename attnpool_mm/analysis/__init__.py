"""Looking into a network."""

from .activation import Operation
from .complexity import Complexity, measure_complexity
from .maps import draw_weights, record_weights
from .stages import Stage, describe_stages

__all__ = [
    "Complexity",
    "Operation",
    "Stage",
    "describe_stages",
    "draw_weights",
    "measure_complexity",
    "record_weights",
]
