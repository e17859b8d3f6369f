"""Looking into a trained network."""

from .maps import draw_weights, record_weights

__all__ = ["draw_weights", "record_weights"]
