"""Checkpoints that LIP's authors publish → checkpoints of this package."""

import re
from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from ..registry import MODELS
from ..utils.checks import check_choice
from ..utils.config import NoRandomFills
from ..utils.errors import ConfigError
from .state_dict import check_theirs, classifier_shapes, misfits

LIP_BACKBONES = {
    "lip_resnet50": dict(type="LIPResNet", depth=50),
    "lip_resnet101": dict(type="LIPResNet", depth=101),
    "lip_densenet121": dict(type="LIPDenseNet", depth=121),
}
# Their name of a layer → ours, first match; numbers in braces are counted down by one.
HIDDEN = {"conv1": "conv1", "bn1": "norm1", "conv2": "conv2", "bn2": "norm2"}
RESNET_NAMES = {
    r"maxpool\.logit\.conv": "maxpool.conv",
    r"maxpool\.logit\.bn": "maxpool.norm",
    **{
        rf"(layer\d\.0)\.bottleneck_shared\.logit\.{theirs}": rf"\1.hidden.{ours}"
        for theirs, ours in HIDDEN.items()
    },
    r"(layer\d\.0)\.conv2\.0\.postprocessing\.conv": r"\1.pool.conv",
    r"(layer\d\.0)\.conv2\.0\.postprocessing\.bn": r"\1.pool.norm",
    r"(layer\d\.0)\.conv2\.1": r"\1.conv2",
    r"(layer\d\.0)\.downsample\.lip\.postprocessing\.conv": r"\1.shortcut_pool.conv",
    r"(layer\d\.0)\.downsample\.lip\.postprocessing\.bn": r"\1.shortcut_pool.norm",
    r"(layer\d\.0)\.downsample\.conv": r"\1.downsample.0",
    r"(layer\d\.0)\.downsample\.bn": r"\1.downsample.1",
    r"((?:layer\d\.\d+\.)?(?:conv|bn)\d)": r"\1",
}
DENSENET_NAMES = {
    r"features\.conv0": "stem.0",
    r"features\.norm0": "stem.1",
    r"features\.pool0\.logit\.conv1": "stem.3.conv",
    r"features\.pool0\.logit\.bn1": "stem.3.norm",
    r"features\.denseblock(\d)\.denselayer(\d+)\.((?:norm|conv)\d)": (
        r"stages.{\1}.block.{\2}.\3"
    ),
    r"features\.transition(\d)\.(norm|conv)": r"transitions.{\1}.\2",
    **{
        rf"features\.transition(\d)\.pool\.logit\.{theirs}": (
            rf"transitions.{{\1}}.pool.{ours}"
        )
        for theirs, ours in {
            **{theirs: f"hidden.{ours}" for theirs, ours in HIDDEN.items()},
            "conv3": "conv",
            "bn3": "norm",
        }.items()
    },
    r"features\.norm5": "transitions.3.0",
}
CLASSIFIERS = ("fc", "classifier")


def convert_lip_state_dict(
    state_dict: Mapping[str, Tensor], arch: str
) -> dict[str, Tensor]:
    """Convert a state dict of LIP's authors to a classifier's of this package.

    It is for `LIPResNet` and `LIPDenseNet`. The names are those of the networks in
    their repository, sebgao/LIP.

    Args:
        state_dict (Mapping[str, Tensor]): Their state dict, with or without the prefix
            `module.`.
        arch (str): 'lip_resnet50', 'lip_resnet101' or 'lip_densenet121'.

    Returns:
        `backbone.…` for every entry of the backbone, and `head.fc.…` where theirs has
        a classifier.

    Raises:
        ConfigError: `arch` is none of these, or an entry is missing, is left over or
            has another shape: how many, and the first by name.

    Example:
        >>> try:
        ...     convert_lip_state_dict({'fc.bias': torch.ones(10)}, 'lip_resnet51')
        ... except ConfigError as error:
        ...     print(str(error).partition(':')[0])
        arch='lip_resnet51'
    """
    return {
        ours: torch.tensor(0) if theirs is None else state_dict[theirs]
        for ours, theirs in lip_names(state_dict, arch).items()
    }


def lip_names(state_dict: Mapping[str, Tensor], arch: str) -> dict[str, str | None]:
    """Our name of every entry → theirs, None for a counter that theirs lacks.

    Args:
        state_dict (Mapping[str, Tensor]): As in `convert_lip_state_dict`.
        arch (str): As in `convert_lip_state_dict`.

    Raises:
        ConfigError: As in `convert_lip_state_dict`.

    Example:
        >>> try:
        ...     lip_names({'conv1.weight': torch.ones(1)}, 'lip_densenet121')
        ... except ConfigError as error:
        ...     print(str(error).split('; ')[1])
        1 left over: conv1.weight
    """
    check_choice("arch", arch, tuple(LIP_BACKBONES))
    check_theirs(state_dict)
    names = RESNET_NAMES if "resnet" in arch else DENSENET_NAMES
    found: dict[str, str] = {}
    for theirs in state_dict:
        ours = _our_name(theirs.removeprefix("module."), names)
        if ours is not None:
            found.setdefault(ours, theirs)
    backbone, channels = _shapes(arch)
    shapes = {f"backbone.{name}": shape for name, shape in backbone.items()}
    classifier = [theirs for ours, theirs in found.items() if ours.startswith("head.")]
    shapes |= classifier_shapes(state_dict, classifier, channels)
    optional = {name for name in shapes if name.endswith(".num_batches_tracked")}
    problems = misfits(state_dict, found, shapes, optional)
    if problems:
        raise ConfigError(f"state_dict does not fit arch={arch!r}: {problems}")
    return {name: found.get(name) for name in shapes}


@cache
def _shapes(arch: str) -> tuple[dict[str, Sequence[int]], int]:
    """The shapes of a backbone's entries, and its last channels."""
    with NoRandomFills():
        backbone = MODELS.build(LIP_BACKBONES[arch])
    shapes = {name: value.shape for name, value in backbone.state_dict().items()}
    return shapes, backbone.out_channels[-1]


def _our_name(name: str, names: Mapping[str, str]) -> str | None:
    """Our name of an entry; None if it is unknown."""
    layer, _, leaf = name.rpartition(".")
    if layer in CLASSIFIERS:
        return f"head.fc.{leaf}"
    for theirs, ours in names.items():
        match = re.fullmatch(theirs, layer)
        if match:
            renamed = match.expand(ours)
            counted = re.sub(r"\{(\d+)\}", lambda m: str(int(m[1]) - 1), renamed)
            return f"backbone.{counted}.{leaf}"
    return None
