"""Looking into a network."""

from .complexity import Complexity, measure_complexity
from .maps import draw_weights, record_weights
from .recorded import Operation

__all__ = [
    "Complexity",
    "Operation",
    "draw_weights",
    "measure_complexity",
    "record_weights",
]
