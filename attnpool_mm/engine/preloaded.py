"""What a training imports; a process that others are copies of imports it once."""

import mmpretrain.datasets
import mmpretrain.evaluation
import mmpretrain.models
import mmpretrain.visualization  # noqa: F401

import attnpool_mm.apis
import attnpool_mm.engine.contents  # noqa: F401
