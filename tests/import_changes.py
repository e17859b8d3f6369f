"""What importing this package changes outside of itself.

    python tests/import_changes.py    # prints a json: import → what it changes

Run in a process of its own. The frameworks are imported first, with what they change.
"""

import atexit
import json
import logging
import os
import pkgutil
import random
import signal
import sys
import warnings
from importlib import import_module
from inspect import isclass, ismodule

import numpy as np

OURS = "attnpool_mm"
SCHEMES = "mmengine.runner.checkpoint.CheckpointLoader._schemes"
FRAMEWORKS = ("mmcv", "mmdet", "mmengine", "mmpretrain", "numpy", "torch")
# What the package imports when it is needed, with what that changes
FIRST = (
    *("mmcv.ops", "mmdet.apis", "mmdet.testing", "mmengine.runner", "mmpretrain.apis"),
    *("sklearn.datasets", "torchvision", "torch_pruning"),
)
EVERY = "every module"
SCOPES, REGISTERED = "mmengine.registry, scopes", "mmengine.registry, others' names"
IMPORTS = (
    OURS,
    *(f"{OURS}.{name}" for name in ("registry", "utils.shapes", "apis")),
    f"{OURS}.engine.checkpointing",
    EVERY,
)


def settings():
    """Name → value of what a process has one of."""
    import torch
    from mmengine.registry import DefaultScope
    from torch.utils.flop_counter import flop_registry

    root = logging.getLogger()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return {
        "os.environ": dict(os.environ),
        "sys.path": [*sys.path],
        "sys.meta_path": [*map(id, sys.meta_path)],
        "sys.excepthook": sys.excepthook,
        "warnings.filters": [*map(str, warnings.filters)],
        "logging": (root.level, [*root.handlers], logging.root.manager.disable),
        "signal": [*map(signal.getsignal, signals)],
        "atexit": atexit._ncallbacks(),
        "random": hash(random.getstate()),
        "numpy.random": np.random.get_state()[1].tobytes(),
        "torch.random": torch.get_rng_state().numpy().tobytes(),
        "torch settings": (
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.multiprocessing.get_sharing_strategy(),
            torch.serialization.get_safe_globals(),
        ),
        "torch.utils.flop_counter.flop_registry": {*map(str, flop_registry)},
        "torch.ops": {*torch._C._dispatch_get_all_op_names()},
        "DefaultScope": [*DefaultScope._instance_dict],
        **tables(),
        **registries(),
    }


def tables():
    """MMEngine's and MMPretrain's tables, which a package may add to."""
    from mmengine.config.utils import MODULE2PACKAGE
    from mmengine.fileio.backends import backends
    from mmengine.fileio.handlers import file_handlers
    from mmengine.runner.checkpoint import CheckpointLoader
    from mmpretrain.apis import ModelHub

    return {
        "mmengine.config.utils.MODULE2PACKAGE": dict(MODULE2PACKAGE),
        "mmengine.fileio.backends": dict(backends),
        "mmengine.fileio.handlers": {k: type(v) for k, v in file_handlers.items()},
        SCHEMES: dict(CheckpointLoader._schemes),
        "mmpretrain.apis.ModelHub": {*ModelHub._models_dict},
    }


def registries():
    """Every registry of the frameworks, and the scopes below them."""
    from mmengine.registry import Registry, root

    roots = {id(one): one for one in vars(root).values() if isinstance(one, Registry)}
    contents: dict = {SCOPES: {}, REGISTERED: {}}
    for one in roots.values():
        contents[SCOPES][one.name] = {*one.children}
        for scope in (one, *one.children.values()):
            if scope.scope != OURS:
                known = {name: id(kind) for name, kind in scope.module_dict.items()}
                contents[REGISTERED][one.name, scope.scope] = known
    return contents


def attributes():
    """(module or class, attribute) → identity, in the frameworks' modules."""
    found = {}
    for name, module in [*sys.modules.items()]:
        if name.partition(".")[0] not in FRAMEWORKS or module is None:
            continue
        for key, value in [*vars(module).items()]:
            if ismodule(value) or (key.startswith("__") and key != "__getattr__"):
                continue
            found[name, key] = id(value)
            if isclass(value) and value.__module__ == name:
                for part, member in [*vars(value).items()]:
                    if not part.startswith("_abc_") and part != "__doc__":
                        found[f"{name}.{key}", part] = id(member)
    return found


def differences(before, after):
    """The names of settings, and of attributes, that are others."""
    (known, were), (now, are) = before, after
    changed = [name for name in now if now[name] != known[name]]
    patched = [
        ".".join(place)
        for place in were.keys() | are.keys()
        # a module that is imported now has no attributes that were there before
        if were.get(place) != are.get(place) and place in were
    ]
    return sorted({*changed, *patched})


def changes(name):
    """What an import changes beyond itself."""
    before = settings(), attributes()
    if name != EVERY:
        import_module(name)
    else:
        package = sys.modules[OURS]
        for module in pkgutil.walk_packages(package.__path__, f"{OURS}."):
            try:
                import_module(module.name)
            except ImportError as error:  # an extra that is not installed
                assert OURS not in str(error.name), error
    return differences(before, (settings(), attributes()))


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of old names in PyTorch, which are looked at
    for first in FIRST:
        import_module(first)
    for framework in ("mmdet", "mmpretrain"):
        import_module(f"{framework}.utils").register_all_modules(False)
    print(json.dumps({name: changes(name) for name in IMPORTS}))
