"""What is read off a config: its data sets, its image size, its model."""

import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import isclass
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import (
    FUNCTIONS,
    MODELS,
    STRATEGIES,
    DefaultScope,
    Registry,
)
from torch import nn
from torch.overrides import TorchFunctionMode

from .checks import check_int
from .errors import ConfigError
from .signatures import FRAMEWORKS

# The argument that sets the images' size, of the transforms that do
RESIZING = {
    "Resize": "scale",
    "ResizeEdge": "scale",
    "CenterCrop": "crop_size",
    "torchvision/Resize": "size",
    "torchvision/CenterCrop": "size",
}
CROPPING = {"RandomCrop": "crop_size", "RandomResizedCrop": "scale"}
HEIGHT_FIRST = ("torchvision/Resize", "torchvision/CenterCrop", *CROPPING)
# Neither MMPretrain nor MMDetection has such a registry of its own
UNSCOPED = (FUNCTIONS, STRATEGIES)
# Whose code calls that of what is built, or is called by it
BUILDERS = {"mmengine", "numpy", "torch", *sys.stdlib_module_names}
REFUSALS = (
    *(AssertionError, AttributeError, ImportError, IndexError, KeyError),
    *(NotImplementedError, TypeError, ValueError),
)
# PyTorch's own functions too: what they call inside, no mode sees
RANDOM_FILLS = (
    *(torch.Tensor.normal_, torch.Tensor.uniform_),
    *(nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_),
)


def type_name(cfg: Any) -> str:
    """The bare name of a config's `type`: a string's without its scope, or a class's.

    Args:
        cfg (Any): A config's dict. Of anything else, or without a type, the name is
            empty.

    Example:
        >>> type_name(dict(type='mmdet.FPN')), type_name(dict(type=nn.ReLU))
        ('FPN', 'ReLU')
    """
    kind = cfg.get("type") if isinstance(cfg, dict) else None
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return name.rsplit(".", 1)[-1]


def registered_class(
    kind: Any, registry: Registry, scope: str | None = None
) -> type | None:
    """The class that a config's `type` names; None if there is none.

    Args:
        kind (Any): The value of `type`: a name, with or without a scope, or the class.
        registry (Registry): MMEngine's root registry of such classes.
        scope (str | None): The scope of a bare name; by default MMEngine's default
            scope.

    Example:
        >>> from mmengine.registry import DATASETS
        >>> registered_class('attnpool_mm.Digits', DATASETS).__name__
        'Digits'
    """
    kind = registered(kind, registry, scope)
    return kind if isclass(kind) else None


def registered(kind: Any, registry: Registry, scope: str | None = None) -> Any:
    """What a config's `type` names, a class or a function; None if there is nothing.

    Args:
        kind (Any): As in `registered_class`.
        registry (Registry): As in `registered_class`.
        scope (str | None): As in `registered_class`. Default: None.
    """
    if not isinstance(kind, str):
        return kind
    with _of_scope(registry, scope) as found:
        try:
            return found.get(kind)
        # A package that is not there; what MMEngine raises for a name without a dot
        except (ImportError, RuntimeError):
            return None


def _of_scope(registry: Registry, scope: str | None) -> AbstractContextManager:
    """The registry of a scope; MMEngine warns where the framework has none."""
    if registry in UNSCOPED:
        return nullcontext(registry)
    return registry.switch_scope_and_registry(scope)


def registered_names(kind: str, registries: Iterable[Registry]) -> set[str]:
    """The names that `kind` could have been.

    They are those of its scope; of another scope than there is, those of all; without
    a scope, those of the default scope.

    Args:
        kind (str): The value of `type`.
        registries (Iterable[Registry]): MMEngine's root registries of such classes.
    """
    scope, _, _ = kind.rpartition(".")
    names: set[str] = set()
    for registry in registries:
        scopes = [scope] if scope in registry.children else registry.children
        for name in scopes if scope else ():
            child = registry.children[name]
            names |= {f"{name}.{known}" for known in child.module_dict}
        if not scope:
            with _of_scope(registry, None) as found:
                names |= found.module_dict.keys() | registry.module_dict.keys()
    return names


def datasets_of(dataset: Any, key: str) -> Iterator[tuple[str, ConfigDict]]:
    """Yield each data set's config under `dataset`, and its key, through wrappers."""
    if not isinstance(dataset, dict):
        return
    if "dataset" in dataset:
        yield from datasets_of(dataset["dataset"], f"{key}.dataset")
    elif "datasets" in dataset:
        for i, inner in enumerate(dataset["datasets"]):
            yield from datasets_of(inner, f"{key}.datasets.{i}")
    else:
        yield key, dataset


def image_size(cfg: Config) -> tuple[int, int]:
    """Height and width of the images in pixels that a config tests with.

    They are what the test pipeline resizes or crops to, or where it leaves the images
    as they are, what the training pipeline crops to; and the preprocessor pads to a
    multiple. Where the pipeline keeps the ratio of height and width, they are the
    largest of a landscape photograph: `(1333, 800)` gives 800x1333, padded to a
    multiple of 32 800x1344.

    Args:
        cfg (Config): A whole config.

    Raises:
        ConfigError: Neither pipeline sets the size.

    Example:
        >>> pipeline = [dict(type='ResizeEdge', scale=256, edge='short'),
        ...             dict(type='CenterCrop', crop_size=224)]
        >>> image_size(Config(dict(
        ...     test_dataloader=dict(dataset=dict(pipeline=pipeline)))))
        (224, 224)
    """
    size = _last_size(cfg, "test_dataloader", RESIZING)
    size = size or _last_size(cfg, "train_dataloader", CROPPING)
    if size is None:
        raise ConfigError(
            "no pipeline sets the image size: test_dataloader.dataset.pipeline with "
            f"{' or '.join(RESIZING)} is expected, or train_dataloader.dataset."
            f"pipeline with {' or '.join(CROPPING)}"
        )
    width, height = (size, size) if isinstance(size, int) else size
    divisor = preprocessor_of(cfg).get("pad_size_divisor") or 1
    return height + -height % divisor, width + -width % divisor


def _last_size(cfg: Config, loader: str, arguments: dict[str, str]) -> Any:
    """What the last of the transforms in `arguments` sets, in the first data set."""
    size = None
    outer = (cfg.get(loader) or {}).get("dataset")
    for _, dataset in list(datasets_of(outer, loader))[:1]:
        for step in dataset.get("pipeline") or []:
            name = type_name(step)
            given = step.get(arguments.get(name, ""))
            if given is not None:
                size = given
                if not isinstance(size, int) and len(size) == 1:
                    (size,) = size
                if isinstance(size, int):
                    continue
                if name in HEIGHT_FIRST:
                    size = (size[1], size[0])
                if step.get("keep_ratio"):
                    size = (max(size), min(size))
    return size


def images_are_rgb(cfg: Config) -> bool:
    """Whether a classifier's test images have their channels in the order R, G, B.

    A data set's own images, CIFAR's for example, have unless the preprocessor turns
    them round (`to_rgb`). A file is read as B, G, R.

    Args:
        cfg (Config): A whole config.

    Example:
        >>> images_are_rgb(Config(dict(test_dataloader=dict(
        ...     dataset=dict(type='CIFAR10', pipeline=[dict(type='PackInputs')])))))
        True
    """
    return reads_rgb(cfg) and not preprocessor_of(cfg).get("to_rgb")


def reads_rgb(cfg: Config) -> bool:
    """Whether a config's test images come as R, G, B: its data set reads no files.

    Args:
        cfg (Config): A whole config.
    """
    outer = (cfg.get("test_dataloader") or {}).get("dataset")
    steps = [s for _, d in datasets_of(outer, "") for s in d.get("pipeline") or []]
    return not any(type_name(step).startswith("Load") for step in steps)


def preprocessor_of(cfg: Config) -> dict:
    """The arguments of the preprocessor that a config's model gets, {} without one.

    Args:
        cfg (Config): A whole config. What its model says comes before what it says
            itself.
    """
    inner = (cfg.get("model") or {}).get("data_preprocessor")
    return inner or cfg.get("data_preprocessor") or {}


def input_shape(cfg: Config, shape: list[int] | None = None) -> tuple[int, ...]:
    """Channels, height and width of an image, of a command line or of the config.

    Args:
        cfg (Config): A whole config.
        shape (list[int] | None): The values of `--shape`: channels, height and width;
            height and width; or one number for both. Default: the size that the config
            tests with, and the `in_channels` of its backbone, or 3.

    Raises:
        ConfigError: There are more values, one is not positive, or there are none and
            the config sets no size.
    """
    backbone = (cfg.get("model") or {}).get("backbone") or {}
    channels = backbone.get("backbone", backbone).get("in_channels", 3)
    if shape is None:
        try:
            return (channels, *image_size(cfg))
        except ConfigError as error:
            raise ConfigError(f"{error}; or say it with --shape") from error
    if len(shape) > 3:
        raise ConfigError(f"--shape {shape}: one to three integers are accepted")
    for side in shape:
        check_int("each of --shape", side)
    return tuple(shape) if len(shape) == 3 else (channels, shape[0], shape[-1])


def counted_method(cfg: Config) -> str:
    """The method of a config's model that is counted.

    It is 'forward' of a classifier, and 'extract_feat' of a detector, backbone and
    neck: its heads need NMS.

    Args:
        cfg (Config): A whole config.
    """
    return "extract_feat" if cfg.default_scope == "mmdet" else "forward"


def build_for_counting(cfg: Config) -> nn.Module:
    """Build a config's model without giving its weights values; none are loaded.

    Args:
        cfg (Config): A whole config.

    Raises:
        ConfigError: The config has no model, or one that cannot be built.
    """
    if cfg.get("model") is None:
        raise ConfigError("the config has no model")
    with (
        DefaultScope.overwrite_default_scope(cfg.default_scope),
        NoRandomFills(),
        one_line_build(),
    ):
        return MODELS.build(cfg.model)


@contextmanager
def one_line_build(what: str = "model") -> Iterator[None]:
    """A context in which what a config asks for is built.

    What code outside of `FRAMEWORKS` raises keeps its traceback: it may have a fault.

    Args:
        what (str): What is built, for the message. Default: 'model'.

    Raises:
        ConfigError: One of the frameworks' classes refuses. The message has the line of
            its code.
    """
    try:
        yield
    except ConfigError:
        raise
    except REFUSALS as error:
        places = [
            (frame.f_globals.get("__name__", ""), line)
            for frame, line in traceback.walk_tb(error.__traceback__)
        ]
        places = [p for p in places if p[0].partition(".")[0] not in BUILDERS]
        module, line = places[-1] if places else ("", 0)
        package = module.partition(".")[0]
        if package not in {*FRAMEWORKS, "timm", "torchvision"}:
            raise
        args = error.args if isinstance(error, KeyError) else (error,)
        text = " ".join(str(args[0] if args else "").split())
        if not text or isinstance(error, AttributeError | IndexError):
            text = f"{type(error).__name__} {text}".rstrip()
        where = "" if package == "attnpool_mm" else f" ({module}, line {line})"
        raise ConfigError(f"{what}: {text}{where}") from error


class NoRandomFills(TorchFunctionMode):
    """A context in which layers get no random initial values.

    These take most of the time of building a network.

    Example:
        >>> with NoRandomFills():
        ...     layer = nn.Linear(1000, 1000)
        >>> layer.weight.shape
        torch.Size([1000, 1000])
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in RANDOM_FILLS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
