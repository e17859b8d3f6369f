"""Looking into a network."""

from .maps import draw_weights, record_weights
from .stages import Stage, describe_stages

__all__ = ["Stage", "describe_stages", "draw_weights", "record_weights"]
