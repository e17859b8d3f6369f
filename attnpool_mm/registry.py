"""The registries of attnpool_mm: children of MMEngine's, scope `attnpool_mm`.

MMEngine imports this module when it meets the prefix `attnpool_mm.` in a config,
and the modules in `locations` when something is first looked up, so that
`type='attnpool_mm.AttnPoolResNet'` needs no `custom_imports`.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import DefaultScope, Registry, root

SCOPE = "attnpool_mm"


class PluginRegistry(Registry):
    """Looks a bare name up here, and then in the framework that the config is for.

    MMEngine builds what a base config `'attnpool_mm::…'` defines in our scope, and
    our configs name parts of MMPretrain and MMDetection without a prefix.
    """

    def get(self, key: str) -> type | None:
        """Return what is registered under `key`, as in `Registry`."""
        self.import_from_location()
        if "." in key or key in self.module_dict:
            return super().get(key)
        return self.parent.get(f"{_framework()}.{key}") or self.parent.get(key)


def _framework() -> str:
    """The newest default scope but ours; MMDetection where there is no other.

    MMDetection's inferencer makes ours the only one when it is told `scope=SCOPE`.
    """
    for scope in reversed(DefaultScope._instance_dict.values()):
        if scope.scope_name != SCOPE:
            return scope.scope_name
    return "mmdet"


MODELS = PluginRegistry(
    "model",
    parent=MMENGINE_MODELS,
    scope=SCOPE,
    locations=[
        "attnpool_mm.layers",
        "attnpool_mm.pooling",
        "attnpool_mm.models.classifier",
        "attnpool_mm.models.detector",
        "attnpool_mm.models.keywords",
        "attnpool_mm.models.lip",
        "attnpool_mm.models.mobilenet_v2",
        "attnpool_mm.models.mobilenet_v3",
        "attnpool_mm.models.pooled",
        "attnpool_mm.models.pruned",
        "attnpool_mm.models.resnet",
        "attnpool_mm.models.resnet_cifar",
    ],
)
DATASETS = PluginRegistry(
    "dataset",
    parent=MMENGINE_DATASETS,
    scope=SCOPE,
    locations=["attnpool_mm.datasets"],
)
HOOKS = PluginRegistry(
    "hook",
    parent=MMENGINE_HOOKS,
    scope=SCOPE,
    locations=[
        "attnpool_mm.engine.channels_last",
        "attnpool_mm.engine.checkpoint_fit",
        "attnpool_mm.engine.checkpointing",
        "attnpool_mm.engine.dynamic_conv",
        "attnpool_mm.engine.epoch_seed",
        "attnpool_mm.engine.invalid_loss",
        "attnpool_mm.engine.robustness",
        "attnpool_mm.engine.spem",
    ],
)
LOOPS = PluginRegistry(
    "loop",
    parent=MMENGINE_LOOPS,
    scope=SCOPE,
    locations=["attnpool_mm.engine.epoch_loop"],
)
OPTIM_WRAPPERS = PluginRegistry(
    "optimizer wrapper",
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope=SCOPE,
    locations=["attnpool_mm.engine.cpu_amp"],
)
OPTIM_WRAPPER_CONSTRUCTORS = PluginRegistry(
    "optimizer wrapper constructor",
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope=SCOPE,
    locations=["attnpool_mm.engine.spem"],
)
# With nothing of ours; where one is missing MMEngine warns at every lookup
OTHERS = [
    PluginRegistry(parent.name, parent=parent, scope=SCOPE, locations=[__name__])
    for parent in vars(root).values()
    if isinstance(parent, Registry) and SCOPE not in parent.children
]
