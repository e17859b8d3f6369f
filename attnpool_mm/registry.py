"""The registries of attnpool_mm: children of MMEngine's, scope `attnpool_mm`.

MMEngine imports this module when it meets the prefix `attnpool_mm.` in a config,
and the modules in `locations` when something is first looked up, so that
`type='attnpool_mm.AttnPoolResNet'` needs no `custom_imports`.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

SCOPE = "attnpool_mm"

MODELS = Registry(
    "model",
    parent=MMENGINE_MODELS,
    scope=SCOPE,
    locations=["attnpool_mm.pooling", "attnpool_mm.backbones"],
)
DATASETS = Registry(
    "dataset",
    parent=MMENGINE_DATASETS,
    scope=SCOPE,
    locations=["attnpool_mm.datasets"],
)
