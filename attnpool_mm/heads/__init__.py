"""Heads of detectors; a config that names one imports this module."""

from .ssd_head import SSDHead

__all__ = ["SSDHead"]
