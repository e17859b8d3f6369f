"""What a training imports; a process that others are copies of imports it once."""

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module

MODULES = (
    "mmdet.datasets",
    "mmdet.evaluation",
    "mmdet.models",
    "mmpretrain.datasets",
    "mmpretrain.evaluation",
    "mmpretrain.models",
    "mmpretrain.visualization",
    "attnpool_mm.engine.contents",
)

# What they say is of optional packages; a training that needs one says so itself.
with (
    redirect_stdout(io.StringIO()),
    redirect_stderr(io.StringIO()),
    warnings.catch_warnings(),
):
    warnings.simplefilter("ignore")
    for module in MODULES:
        import_module(module)
