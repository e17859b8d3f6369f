"""Checkpoints: loaded as data, converted from the authors' code, transferred."""

from .authors import (
    authors_names,
    convert_authors_pool,
    convert_authors_state_dict,
)
from .fit import load_fitting
from .lip import convert_lip_state_dict
from .loading import CheckpointNotFoundError, load_checkpoint_file
from .mmengine_loading import use_safe_loading
from .state_dict import find_state_dict, is_state_dict
from .transfer import BackboneTransfer, transfer_backbone

__all__ = [
    "BackboneTransfer",
    "CheckpointNotFoundError",
    "authors_names",
    "convert_authors_pool",
    "convert_authors_state_dict",
    "convert_lip_state_dict",
    "find_state_dict",
    "is_state_dict",
    "load_checkpoint_file",
    "load_fitting",
    "transfer_backbone",
    "use_safe_loading",
]
