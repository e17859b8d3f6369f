"""The registries of attnpool_mm: children of MMEngine's, scope `attnpool_mm`.

MMEngine imports this module when it meets the prefix `attnpool_mm.` in a config,
and the modules in `locations` when something is first looked up, so that
`type='attnpool_mm.AttnPoolResNet'` needs no `custom_imports`.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import Registry

SCOPE = "attnpool_mm"

MODELS = Registry(
    "model",
    parent=MMENGINE_MODELS,
    scope=SCOPE,
    locations=[
        "attnpool_mm.layers",
        "attnpool_mm.pooling",
        "attnpool_mm.backbones",
        "attnpool_mm.classifier",
    ],
)
DATASETS = Registry(
    "dataset",
    parent=MMENGINE_DATASETS,
    scope=SCOPE,
    locations=["attnpool_mm.datasets"],
)
HOOKS = Registry(
    "hook",
    parent=MMENGINE_HOOKS,
    scope=SCOPE,
    locations=[
        "attnpool_mm.engine.dynamic_conv",
        "attnpool_mm.engine.epoch_seed",
        "attnpool_mm.engine.spem",
    ],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    "optimizer wrapper constructor",
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope=SCOPE,
    locations=["attnpool_mm.engine.spem"],
)
