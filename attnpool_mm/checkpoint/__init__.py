"""Checkpoints: loaded as data, and converted from the authors' code."""

from .authors import (
    authors_names,
    convert_authors_pool,
    convert_authors_state_dict,
    is_state_dict,
)
from .loading import (
    CheckpointNotFoundError,
    load_checkpoint_file,
    use_safe_loading,
)

__all__ = [
    "CheckpointNotFoundError",
    "authors_names",
    "convert_authors_pool",
    "convert_authors_state_dict",
    "is_state_dict",
    "load_checkpoint_file",
    "use_safe_loading",
]
