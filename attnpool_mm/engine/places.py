"""Which part of a config is of which registry, and what takes the parts without a type.

Where MMEngine reads a dict without a class, it drops the keys that it does not know.
"""

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    EVALUATOR,
    FUNCTIONS,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODEL_WRAPPERS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    RUNNERS,
    STRATEGIES,
    TASK_UTILS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
    WEIGHT_INITIALIZERS,
    Registry,
)
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    LogProcessor,
    Runner,
    TestLoop,
    ValLoop,
)
from mmengine.runner._flexible_runner import FlexibleRunner
from mmengine.utils.dl_utils import set_multi_processing
from torch.distributed import init_process_group
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from ..utils.config import registered
from ..utils.signatures import arguments, mentions

Registries = tuple[Registry, ...]

# Those of the types of arguments
ANY: Registries = (
    DATA_SAMPLERS,
    DATASETS,
    EVALUATOR,
    HOOKS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TASK_UTILS,
    TRANSFORMS,
    VISBACKENDS,
    WEIGHT_INITIALIZERS,
)
# The sections that hold dicts with a type
OF_MODELS: dict[str, Registries] = {
    "model": (MODELS,),
    "data_preprocessor": (MODELS,),
    "tta_model": (MODELS,),
}
OF_RUNS: dict[str, Registries] = {
    "model_wrapper_cfg": (MODEL_WRAPPERS,),
    "default_hooks": (HOOKS,),
    "custom_hooks": (HOOKS,),
    "visualizer": (VISUALIZERS,),
    "log_processor": (LOG_PROCESSORS,),
}
OF_TRAINING: dict[str, Registries] = {
    "optim_wrapper": (OPTIM_WRAPPERS,),
    "param_scheduler": (PARAM_SCHEDULERS,),
    "strategy": (STRATEGIES,),
}
# Of train, val and test
OF_SPLITS: dict[str, Registries] = {
    "cfg": (LOOPS,),
    "dataloader": ANY,
    "evaluator": (METRICS, EVALUATOR),
}
MODULES = (
    *("backbone", "neck", "head", "bbox_head", "roi_head", "rpn_head", "mask_head"),
    *("data_preprocessor", "loss", "loss_bbox", "loss_cls", "loss_mask", "loss_obj"),
    *("act_cfg", "conv_cfg", "norm_cfg"),
)
# Of arguments, by their names; others may be of any registry
PARTS: dict[str, Registries] = {
    **dict.fromkeys(MODULES, (MODELS,)),
    "anchor_generator": (TASK_UTILS,),
    "bbox_coder": (TASK_UTILS,),
    "init_cfg": (WEIGHT_INITIALIZERS,),
    "dataset": (DATASETS,),
    "datasets": (DATASETS,),
    "pipeline": (TRANSFORMS,),
    "optimizer": (OPTIMIZERS,),
    "vis_backends": (VISBACKENDS,),
}
PARTS_OF_LOADERS: dict[str, Registries] = {
    "dataset": (DATASETS,),
    "sampler": (DATA_SAMPLERS,),
    "batch_sampler": (DATA_SAMPLERS,),
    "collate_fn": (FUNCTIONS,),
    "worker_init_fn": (FUNCTIONS,),
}
OF_LOADERS = {*PARTS_OF_LOADERS, "num_batch_per_epoch", "disable_subprocess_warning"}
# What is taken out of a dict with a type before the type gets the rest
TAKEN = {
    HOOKS: {"priority"},
    OPTIM_WRAPPERS: {"constructor", "paramwise_cfg"},
    PARAM_SCHEDULERS: {"convert_to_iter_based"},
    MODELS: {"requires_grad"},  # of a norm_cfg
    WEIGHT_INITIALIZERS: {"override"},
}
HOOK_NAMES = (
    "runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint",
)  # fmt: skip
# What MMEngine, MMPretrain, MMDetection and the tools read beside a runner's arguments
OTHER_KEYS = {
    "_scope_",
    "compile",
    "custom_imports",
    "find_unused_parameters",
    "init_weights_for_test_or_val",
    "model_wrapper_cfg",
    "runner_type",
    "sync_bn",
    "tta_model",
    "tta_pipeline",
}


def runner_keys(cfg: Config) -> set[str]:
    """The top-level keys that a run of a config knows."""
    kinds = (Runner, FlexibleRunner, registered(cfg.get("runner_type"), RUNNERS))
    names = [arguments(kind) for kind in kinds if kind is not None]
    return OTHER_KEYS.union(*names) - {"cfg"}


def sections(which: Sequence[str]) -> dict[str, Registries]:
    """The sections of a config, with the registries of their types.

    Args:
        which (Sequence[str]): The parts that are used, of `train`, `val` and `test`;
            without any, it is the model alone.
    """
    used = OF_MODELS | (OF_RUNS if which else {})
    if "train" in which:
        used |= OF_TRAINING
    for split in which:
        used |= {f"{split}_{name}": of for name, of in OF_SPLITS.items()}
    return used


def plain_dicts(
    cfg: Config, which: Sequence[str]
) -> Iterator[tuple[str, dict, Collection[str]]]:
    """Yield the dicts without a type: the key, the dict, and the keys that it may have.

    Args:
        cfg (Config): A whole config.
        which (Sequence[str]): The parts that are used, of `train`, `val` and `test`.
    """
    found = [
        ("auto_scale_lr", cfg.get("auto_scale_lr"), {"base_batch_size", "enable"}),
        ("randomness", cfg.get("randomness"), arguments(Runner.set_randomness)),
        ("compile", cfg.get("compile"), {"target", *arguments(torch.compile)}),
        ("log_processor", cfg.get("log_processor"), arguments(LogProcessor)),
        *_environment(cfg.get("env_cfg")),
        *_preprocessors(cfg),
    ]
    for split in which:
        loader, loop = (f"{split}_{name}" for name in ("dataloader", "cfg"))
        found.append((loader, cfg.get(loader), OF_LOADERS | {*arguments(DataLoader)}))
        found.append((loop, cfg.get(loop), _loop(split, cfg.get(loop))))
    if "train" in which:
        found += _optimization(cfg.get("optim_wrapper"))
    for key, value, names in found:
        if isinstance(value, dict) and ("type" not in value or "type" in names):
            yield key, value, names


def _loop(split: str, loop: Any) -> set[str]:
    if split != "train":
        return {*arguments(ValLoop if split == "val" else TestLoop)}
    by_epoch = isinstance(loop, dict) and loop.get("by_epoch", True)
    kind = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
    return {"by_epoch", *arguments(kind)}


def _environment(env_cfg: Any) -> Iterator[tuple[str, Any, Collection[str]]]:
    names = {"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"}
    yield "env_cfg", env_cfg, names
    if isinstance(env_cfg, dict):
        names = arguments(set_multi_processing).keys() - {"distributed"}
        yield "env_cfg.mp_cfg", env_cfg.get("mp_cfg"), names
        names = {*arguments(init_process_group), "init_backend", "port"}
        yield "env_cfg.dist_cfg", env_cfg.get("dist_cfg"), names


def _optimization(wrapper: Any) -> Iterator[tuple[str, Any, Collection[str]]]:
    if not isinstance(wrapper, dict):
        return
    if "optimizer" in wrapper:  # one, not several for a constructor of one's own
        names = arguments(OptimWrapper).keys() | TAKEN[OPTIM_WRAPPERS]
        yield "optim_wrapper", wrapper, names
    clip = wrapper.get("clip_grad")
    by_norm = isinstance(clip, dict) and clip.get("type", "norm") == "norm"
    names = arguments(clip_grad_norm_ if by_norm else clip_grad_value_)
    yield "optim_wrapper.clip_grad", clip, {"type", *names} - {"parameters"}
    constructor = wrapper.get("constructor", DefaultOptimWrapperConstructor)
    kind = registered(constructor, OPTIM_WRAPPER_CONSTRUCTORS)
    paramwise = wrapper.get("paramwise_cfg")
    if kind is None or not isinstance(paramwise, dict):
        return
    # Keys that are near to none may be for an optimizer of one's own
    names = {name for name in mentions(kind) if name.isidentifier()}
    yield "optim_wrapper.paramwise_cfg", paramwise, names | _far(paramwise, names)
    names = {"lr_mult", "decay_mult"}
    for key, custom in (paramwise.get("custom_keys") or {}).items():
        key = f"optim_wrapper.paramwise_cfg.custom_keys.{key}"
        yield key, custom, names | _far(custom, names)


def _far(given: Collection[str], names: Collection[str]) -> set[str]:
    return {name for name in given if not get_close_matches(name, names)}


def _preprocessors(cfg: Config) -> Iterator[tuple[str, Any, Collection[str]]]:
    """Those of classifiers, which MMPretrain gives a type."""
    if cfg.get("default_scope") != "mmpretrain":
        return
    from mmpretrain.models import ClsDataPreprocessor, ImageClassifier

    model = cfg.get("model") or {}
    kind = registered(model.get("type"), MODELS)
    if isinstance(kind, type) and issubclass(kind, ImageClassifier):
        names = arguments(ClsDataPreprocessor)
        yield "data_preprocessor", cfg.get("data_preprocessor"), names
        yield "model.data_preprocessor", model.get("data_preprocessor"), names
