"""State dicts of the authors' code → checkpoints of this package."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..pooling import (
    AttentionPool2d,
    DeformableSelfAttentivePool2d,
    GaussianPool2d,
    LocalImportancePool2d,
    MixedPool2d,
    SelfAttentivePool2d,
    StridedConv2d,
)
from ..registry import MODELS
from ..utils.errors import ConfigError
from .state_dict import is_state_dict

# Their name of a layer inside a pool → ours.
SELF_ATTENTIVE_NAMES = {
    "downsample.0": "embed.conv",
    "downsample.1": "embed.norm",
    "multihead_attn": "attention",
    "restore.0": "restore.conv",
    "restore.1": "restore.norm",
    "pos_embed.row_embed.weight": "position.row",
    "pos_embed.col_embed.weight": "position.column",
}
LOCAL_NAMES = {"logit.0": "conv", "logit.1": "norm"}
POOL_NAMES = {
    SelfAttentivePool2d: SELF_ATTENTIVE_NAMES,
    DeformableSelfAttentivePool2d: {
        "downsample.0.conv": "embed.conv",
        "downsample.0.p_conv": "offset",
        "downsample.0.m_conv": "mask",
        **{k: v for k, v in SELF_ATTENTIVE_NAMES.items() if v != "embed.conv"},
    },
    LocalImportancePool2d: LOCAL_NAMES,
    GaussianPool2d: {
        "ToHidden.1": "hidden.conv",
        "ToHidden.2": "hidden.norm",
        "ToMean.0": "mean.conv",
        "ToMean.1": "mean.norm",
        "ToSigma.0": "deviation.conv",
        "ToSigma.1": "deviation.norm",
    },
    AttentionPool2d: {
        **{k: v for k, v in SELF_ATTENTIVE_NAMES.items() if "restore" not in k},
        "map.0": "project.conv",
        "map.1": "project.norm",
    },
    StridedConv2d: {"0": "conv", "1": "norm"},
}
CLASSIFIER = re.compile(r"(?:fc|linear|head|classifier)(?:\.\d+)?\.(weight|bias)")
SPEM_PARAMETERS = re.compile(r"(layer\d+\.\d+)\.(w1|b1|w2|b2|p)$")
# Defaults that theirs does not store: SAP's dynamic convolutions stay at their start.
AUTHORS_TEMPERATURE = 34.0


def convert_authors_state_dict(
    state_dict: Mapping[str, Tensor], arch: str
) -> dict[str, Tensor]:
    """Convert a state dict of the authors' code to a classifier's of this package.

    The names of the layers of deformable pools and of mixtures' local parts are taken
    from the usual PyTorch code for them; under other names they are told by shape.

    Deformable pools: their sampler reads one pixel off for patches of 1 and 4, so that
    a network with these computes something else here; their offsets, all vertical
    ones first, become MMCV's pairs. Dynamic convolutions get the temperature at which
    the authors' stay, 34, which their state dicts do not have.

    Args:
        state_dict: Their state dict, with or without the prefixes `module.`, `net.`.
        arch: The architecture keyword of the network, as in `arch_to_config`.

    Returns:
        `backbone.…` for every entry of the backbone, and `head.fc.…` where theirs has
        a classifier.

    Raises:
        ConfigError: The keyword is wrong, or an entry is missing, is left over, or
            has another shape; each is named.

    Example:
        >>> from attnpool_mm.models import AttnPoolBackbone
        >>> names = AttnPoolBackbone('resnet18-skip-1222').state_dict()
        >>> theirs = {f'module.net.{name}': value for name, value in names.items()}
        >>> ours = convert_authors_state_dict(theirs, 'resnet18-skip-1222')
        >>> 'backbone.layer1.0.conv1.weight' in ours
        True
    """
    names = authors_names(state_dict, arch)
    return {
        ours: _value(ours, state_dict[theirs]) if theirs else _default(ours)
        for ours, theirs in names.items()
    }


def convert_authors_pool(
    state_dict: Mapping[str, Tensor], pool: nn.Module
) -> dict[str, Tensor]:
    """Convert the state dict of one of the authors' pools.

    Args:
        state_dict: Their state dict.
        pool: The pool of this package that it is for. What does not fit keeps its
            name, so that `load_state_dict` says so.

    Example:
        >>> theirs = {'logit.0.weight': torch.ones(4, 4, 1, 1)}
        >>> sorted(convert_authors_pool(theirs, LocalImportancePool2d(4)))
        ['conv.weight', 'norm.num_batches_tracked']
    """
    names = _pool_names(pool, {name: value.shape for name, value in state_dict.items()})
    converted = {
        names[name]: _value(f"pool.{names[name]}", value)
        for name, value in state_dict.items()
    }
    defaults = {name: _default(name) for name in pool.state_dict()}
    return {n: v for n, v in defaults.items() if v is not None} | converted


def authors_names(state_dict: Mapping[str, Tensor], arch: str) -> dict[str, str | None]:
    """Our name of every entry → the authors', None where theirs has no such entry.

    Args:
        state_dict: As in `convert_authors_state_dict`.
        arch: As in `convert_authors_state_dict`.

    Raises:
        ConfigError: As in `convert_authors_state_dict`.

    Example:
        >>> from attnpool_mm.models import AttnPoolBackbone
        >>> theirs = AttnPoolBackbone('resnet18-skip-1222').state_dict()
        >>> authors_names(theirs, 'resnet18-skip-1222')['backbone.bn1.weight']
        'bn1.weight'
    """
    from ..models import arch_to_config  # here, since MMPretrain takes its time

    config = arch_to_config(arch)
    if not is_state_dict(state_dict):
        raise ConfigError("state_dict: a dict of names and tensors is accepted")
    backbone = MODELS.build(config)
    plain = {re.sub(r"^((module|net)\.)+", "", key): key for key in state_dict}
    if len(plain) < len(state_dict):
        raise ConfigError("state_dict: two entries differ in their prefixes alone")
    heads = {
        f"head.fc.{m[1]}": key
        for name, key in plain.items()
        if (m := CLASSIFIER.fullmatch(name))
    }
    found: dict[str, str] = {}
    for name, key in plain.items():
        ours = _backbone_name(name, config)
        if ours is not None and key not in heads.values():
            found.setdefault(ours, key)
    found = _name_inside_pools(found, state_dict, backbone)
    problems = _problems(found, heads, state_dict, backbone)
    if problems:
        raise ConfigError(f"state_dict does not fit arch={arch!r}: {problems}")
    return {
        f"backbone.{name}": found.get(name) for name in backbone.state_dict()
    } | heads


def _backbone_name(name: str, config: dict[str, Any]) -> str | None:
    """Our name of an entry, inside a pool that of the pool; None if it is unknown."""
    if config["type"].endswith("MobileNetV2"):
        return _mobilenet_name(name, config)
    position = config.get("pool_position")
    if name.startswith("pool."):
        return f"max{name}"
    if name.startswith("maxpool."):  # our name
        return None
    if re.match(r"layer\d\.pool\.", name):
        return name if position == "stage_end" else None
    if re.match(r"layer\d\.0\.pooling\.", name):
        return name.replace("0.pooling", "pool") if position == "first_block" else None
    return SPEM_PARAMETERS.sub(r"\1.attention.\2", name)


def _mobilenet_name(name: str, config: dict[str, Any]) -> str | None:
    if name.startswith("pool."):
        return f"conv1.{name}"
    ends = re.match(r"(conv[12])\.([01])\.(.*)", name)
    if ends:
        return f"{ends[1]}.{_CONV_OR_NORM[int(ends[2])]}.{ends[3]}"
    entry = re.match(r"features\.(\d)\.(\d+)\.(.*)", name)
    if entry is None:
        return None
    stage, block, rest = int(entry[1]), int(entry[2]), entry[3]
    at_start = config["pool_position"] == "stage_start"
    if rest.startswith("pooling."):
        return None if at_start else f"layer{stage + 1}.pool.{rest[len('pooling.') :]}"
    # A pool before the first block counts as the block 0.
    pools = config["pool_cfg"]
    if at_start and stage < len(pools) and pools[stage]:
        if block == 0:
            return f"layer{stage + 1}.pool.{rest}"
        block -= 1
    layer = re.match(r"conv\.(\d)\.(.*)", rest)
    if layer is None:
        return None
    index = int(layer[1])
    part = f"conv.{index // 3}.{_CONV_OR_NORM[index % 3 > 0]}"
    return f"layer{stage + 1}.{block}.{part}.{layer[2]}"


_CONV_OR_NORM = ("conv", "bn")


def _name_inside_pools(
    found: dict[str, str], state_dict: Mapping[str, Tensor], backbone: nn.Module
) -> dict[str, str]:
    places = [
        name
        for name, module in backbone.named_modules()
        if name.endswith("pool") and next(module.parameters(), None) is not None
    ]
    found = dict(found)
    for place in places:
        prefix = f"{place}."
        inside = {
            name.removeprefix(prefix): found.pop(name)
            for name in list(found)
            if name.startswith(prefix)
        }
        shapes = {name: state_dict[key].shape for name, key in inside.items()}
        ours = _pool_names(backbone.get_submodule(place), shapes)
        for name, key in inside.items():
            found.setdefault(f"{prefix}{ours[name]}", key)
    return found


def _pool_names(pool: nn.Module, shapes: Mapping[str, torch.Size]) -> dict[str, str]:
    """Their name of every entry of a pool → ours; what is unknown keeps its name."""
    mixed = isinstance(pool, MixedPool2d)
    parts = enumerate(pool.pools) if mixed else [("", pool)]
    names: dict[str, str] = {}
    for index, part in parts:
        prefix = f"pools.{index}." if mixed else ""
        for name in shapes:
            ours = _known_name(name, POOL_NAMES.get(type(part), {}))
            if ours:
                names.setdefault(name, prefix + ours)
    unknown = {name: shape for name, shape in shapes.items() if name not in names}
    by_shape = _names_by_shape(unknown, set(names.values()), pool)
    return {name: name for name in unknown} | by_shape | names


def _known_name(name: str, table: Mapping[str, str]) -> str | None:
    """Our name, wherever in theirs a layer of the table stands."""
    for theirs, ours in table.items():
        match = re.search(rf"(?:^|\.){re.escape(theirs)}(?=\.|$)", name)
        if match:
            return ours + name[match.end() :]
    return None


def _names_by_shape(
    unknown: Mapping[str, torch.Size], filled: set[str], pool: nn.Module
) -> dict[str, str]:
    """Names for the layers whose names in the authors' code are not certain.

    They are the three convolutions of a deformable pool and the local layers of a
    mixture. Their shapes differ: a layer is taken for the one that it alone fits.
    """
    ours = _by_layer(
        {
            name: value.shape
            for name, value in pool.state_dict().items()
            if name not in filled and _is_uncertain(name, pool)
        }
    )
    theirs = _by_layer(unknown)
    names: dict[str, str] = {}
    for new, shapes in ours.items():
        fitting = [old for old, layer in theirs.items() if layer == shapes]
        alike = [other for other, layer in ours.items() if layer == shapes]
        if len(fitting) == len(alike) == 1:
            names |= {f"{fitting[0]}.{leaf}": f"{new}.{leaf}" for leaf in shapes}
    return names


def _is_uncertain(name: str, pool: nn.Module) -> bool:
    part, index = pool, None
    if isinstance(pool, MixedPool2d):
        _, index, name = name.split(".", 2)
        part = pool.pools[int(index)]
    if isinstance(part, DeformableSelfAttentivePool2d):
        return name.startswith(("embed.conv.", "offset.", "mask."))
    return index is not None and isinstance(part, LocalImportancePool2d)


def _by_layer(shapes: Mapping[str, torch.Size]) -> dict[str, dict[str, torch.Size]]:
    layers: dict[str, dict[str, torch.Size]] = {}
    for name, shape in shapes.items():
        layer, _, leaf = name.rpartition(".")
        layers.setdefault(layer, {})[leaf] = shape
    return layers


def _problems(
    found: Mapping[str, str],
    heads: Mapping[str, str],
    state_dict: Mapping[str, Tensor],
    backbone: nn.Module,
) -> str:
    """What is missing, left over or of another shape; empty if all fits."""
    expected = backbone.state_dict()
    missing = [n for n in expected if n not in found and _default(n) is None]
    used = {key for name, key in found.items() if name in expected} | set(
        heads.values()
    )
    left_over = [key for key in state_dict if key not in used]
    shapes = [
        f"{key} is {_size(state_dict[key].shape)}, not {_size(expected[name].shape)}"
        for name, key in found.items()
        if name in expected and state_dict[key].shape != expected[name].shape
    ]
    weight, bias = (heads.get(f"head.fc.{leaf}") for leaf in ("weight", "bias"))
    if weight and bias:
        classes = len(state_dict[bias])
        fitting = (classes, backbone.out_channels[-1])
        if state_dict[weight].shape != fitting:
            shapes.append(
                f"{weight} is {_size(state_dict[weight].shape)}, not {_size(fitting)}"
            )
    elif heads:
        missing.append(f"the classifier's {'bias' if weight else 'weight'}")
    parts = (("missing", missing), ("left over", left_over), ("shapes", shapes))
    text = "; ".join(f"{what}: {_listed(names)}" for what, names in parts if names)
    if any(".p_conv." in key for key in left_over):
        text += " (p_conv is of a deformable pool; the authors' last mixp is dfmixp)"
    return text


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more


def _value(name: str, value: Tensor) -> Tensor:
    if re.search(r"pool\.(pools\.\d+\.)?offset\.", name):
        # All vertical offsets, then all horizontal ones → pairs.
        return torch.stack(value.chunk(2), 1).flatten(0, 1)
    return value


def _default(name: str) -> Tensor | None:
    """What theirs may lack."""
    if name.endswith(".temperature"):
        return torch.tensor(AUTHORS_TEMPERATURE)
    if name.endswith(".num_batches_tracked"):
        return torch.tensor(0)
    return None
