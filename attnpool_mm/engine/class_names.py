"""Do the data sets' classes fit the heads of the model?"""

import os
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS

from ..utils.config import registered_class
from ..utils.errors import ConfigError
from .coco_file import CocoFile

NAMED = 8  # of the names that a message lists
# Heads that count something else than the data set's classes
OTHER_HEADS = ("rpn_head", "semantic_head")


def class_names(key: str, dataset: dict, kind: type) -> tuple[str, ...] | None:
    """The names of a data set's classes, as its config or else its class gives them.

    Args:
        key (str): The key of the data set in the config, for messages.
        dataset (dict): Its config.
        kind (type): Its class.

    Returns:
        The names in the order of the config. None if nothing says them before the
        data are read.

    Raises:
        ConfigError: The names are a string, no strings, or two are the same.
    """
    metainfo = dataset.get("metainfo") or {}
    key = f"{key}.metainfo"
    if not isinstance(metainfo, dict):
        raise ConfigError(f"{key}={metainfo!r}: dict(classes=(…)) is accepted")
    if "CLASSES" in metainfo:
        raise ConfigError(f"{key}.CLASSES: it is spelt 'classes' since MMDetection 3")
    names = metainfo.get("classes")
    if names is None and dataset.get("classes") is not None:
        key, names = key.removesuffix(".metainfo"), dataset["classes"]
    if names is None:
        names = getattr(kind, "METAINFO", {}).get("classes")
        return None if names is None else tuple(names)
    key = f"{key}.classes"
    accepted = "a tuple of names is accepted"
    if isinstance(names, str):
        path = os.path.expanduser(names)
        if not os.path.isfile(path):
            raise ConfigError(
                f"{key}={names!r}: {accepted}, ({names!r},) with the comma, or a file "
                "with a name a line"
            )
        with open(path, encoding="utf-8") as file:
            names = file.read().splitlines()
    if not isinstance(names, Sequence) or not names:
        raise ConfigError(f"{key}={names!r}: {accepted}")
    seen = set()
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"{key}: {name!r} among {len(names)}; {accepted}")
        if name in seen:
            raise ConfigError(f"{key}: {name!r} is named twice; {accepted}")
        seen.add(name)
    return tuple(names)


def class_counts(
    model: Any, scope: str | None = None, key: str = "model"
) -> Iterator[tuple[str, int]]:
    """Yield the key and the value of each head's `num_classes`, defaults included.

    Proposal heads are left out, and those that segment the background.

    Args:
        model (Any): The config of a model, or a part of it.
        scope (str | None): The scope of bare names. Default: None.
        key (str): Its key in the config. Default: 'model'.

    Example:
        >>> head = dict(type='LinearClsHead', num_classes=10, in_channels=8)
        >>> dict(class_counts(dict(head=head), 'mmpretrain'))
        {'model.head.num_classes': 10}
    """
    if isinstance(model, list | tuple):
        for i, part in enumerate(model):
            yield from class_counts(part, scope, f"{key}.{i}")
    if not isinstance(model, dict) or key.endswith(OTHER_HEADS):
        return
    name = key.rstrip("0123456789.").rpartition(".")[2]
    if name.endswith("head"):
        number = model.get("num_classes", _default_count(model.get("type"), scope))
        if isinstance(number, int) and number > 0:
            yield f"{key}.num_classes", number
    for inner, part in model.items():
        if inner.endswith("head") or not name.endswith("head"):
            yield from class_counts(part, scope, f"{key}.{inner}")


def _default_count(kind: Any, scope: str | None) -> Any:
    for cls in getattr(registered_class(kind, MODELS, scope), "__mro__", ()):
        if "__init__" in vars(cls):
            parameters = signature(cls.__init__).parameters
            if "num_classes" in parameters:
                return parameters["num_classes"].default
            if all(p.kind is not Parameter.VAR_KEYWORD for p in parameters.values()):
                return None
    return None


def check_label_order(named: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Check that a label means the same class wherever it is known.

    Args:
        named (Sequence[tuple[str, Sequence[str]]]): A key of the config, and the names
            of the labels 0, 1, … of its data, of each data set.

    Raises:
        ConfigError: A label stands for two classes.
    """
    for key, names in named[1:]:
        first, others = named[0]
        for label, (ours, theirs) in enumerate(zip(others, names, strict=False)):
            if ours != theirs:
                raise ConfigError(
                    f"label {label} is {ours!r} in {first} and {theirs!r} in {key}: "
                    "the same classes in the same order are accepted"
                )


def check_coco_classes(key: str, classes: Sequence[str], coco: CocoFile) -> None:
    """Check that a json of COCO's format has each class, once.

    Args:
        key (str): The key of the data set in the config, for messages.
        classes (Sequence[str]): The names of its classes.
        coco (CocoFile): The json.

    Raises:
        ConfigError: It does not, naming the nearest of its categories.
    """
    names = list(coco.categories.values())
    absent = [name for name in classes if name not in names]
    twice = [name for name in classes if names.count(name) > 1]
    if twice:
        raise ConfigError(
            f"{key}.ann_file={coco.path!r}: {twice[0]!r} is the name of "
            f"{names.count(twice[0])} of its categories; unique names are expected"
        )
    if not absent:
        return
    folded = {name.casefold(): name for name in names}
    near = folded.get(absent[0].casefold())
    near = [near] if near else get_close_matches(absent[0], names, 1)
    others = f" and {len(absent) - 1} others are" if absent[1:] else " is"
    raise ConfigError(
        f"{key}.metainfo.classes: {absent[0]!r}{others} not in {coco.path}"
        f"{f'; the nearest is {near[0]!r}' if near else ''}; names of its categories "
        f"are accepted: {listed(names)}"
    )


def check_mixed_labels(cfg: Config, heads: Sequence[tuple[str, int]]) -> None:
    """Check the length of the label vectors that Mixup and CutMix make.

    Args:
        cfg (Config): The whole config.
        heads (Sequence[tuple[str, int]]): What `class_counts` yields of its model.

    Raises:
        ConfigError: The preprocessor's `num_classes` is not the head's.
    """
    outer, inner = cfg.get("data_preprocessor"), cfg.get("model") or {}
    inner = inner.get("data_preprocessor") if isinstance(inner, dict) else None
    key = "data_preprocessor" if inner is None else "model.data_preprocessor"
    given = (outer if inner is None else inner) or {}
    number = given.get("num_classes")
    if number is None or not (given.get("batch_augments") or given.get("to_onehot")):
        return
    for head, expected in heads:
        if number != expected:
            raise ConfigError(
                f"{key}.num_classes={number}, and {head}={expected}: the same number "
                "is accepted"
            )


def listed(names: Iterable[str]) -> str:
    """The names as text, the first few of many."""
    names = list(map(repr, names))
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
