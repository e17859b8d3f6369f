"""State dicts of the authors' code → checkpoints of this package."""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
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
)
from ..registry import MODELS
from ..utils.config import NoRandomFills
from ..utils.errors import ConfigError
from .state_dict import check_theirs, classifier_shapes, misfits

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
LOCAL_NAMES = {
    "logit.0": "conv",
    "logit.1": "norm",
    # beside a deformable pool
    "local.0": "conv",
    "local.1": "norm",
}
POOL_NAMES = {
    SelfAttentivePool2d: SELF_ATTENTIVE_NAMES,
    DeformableSelfAttentivePool2d: {
        "downsample.0.conv": "embed.conv",
        "downsample.0.m_conv": "mask",
        "offset_conv.offset_conv": "offset",
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
}
CLASSIFIER = re.compile(r"(?:fc|linear|head|classifier)(?:\.\d+)?\.(weight|bias)")
SPEM_PARAMETERS = re.compile(r"(layer\d+\.\d+)\.(w1|b1|w2|b2|p)$")
# Defaults that theirs does not store: SAP's dynamic convolutions stay at their start.
AUTHORS_TEMPERATURE = 34.0


def convert_authors_state_dict(
    state_dict: Mapping[str, Tensor], arch: str
) -> dict[str, Tensor]:
    """Convert a state dict of the authors' code to a classifier's of this package.

    Deformable pools: their sampler counts what lies at or beyond the border double,
    and reads beside its position for patches other than 2 and 3, so that a network
    with these computes something else here; a warning says so. Dynamic convolutions
    get the temperature at which the authors' stay, 34, which their state dicts do not
    have.

    Args:
        state_dict (Mapping[str, Tensor]): Their state dict, with or without the
            prefixes `module.`, `net.`.
        arch (str): The architecture keyword of the network, as in `arch_to_config`.

    Returns:
        `backbone.…` for every entry of the backbone, and `head.fc.…` where theirs has
        a classifier.

    Raises:
        ConfigError: The keyword is wrong, or an entry is missing, is left over, or
            has another shape; each is named. Of a `mixp` with deformable pools, as
            in the last state of their code, the error says the keyword.

    Example:
        >>> from attnpool_mm.models import attn_pool_backbone
        >>> names = attn_pool_backbone('resnet18-skip-1222').state_dict()
        >>> theirs = {f'module.net.{name}': value for name, value in names.items()}
        >>> ours = convert_authors_state_dict(theirs, 'resnet18-skip-1222')
        >>> 'backbone.layer1.0.conv1.weight' in ours
        True
    """
    from ..models import arch_to_config

    names = authors_names(state_dict, arch)
    patches = deformable_patches(arch_to_config(arch))
    if patches:
        warnings.warn(_about_sampler(arch, patches), stacklevel=2)
    return {
        ours: state_dict[theirs] if theirs else _default(ours)
        for ours, theirs in names.items()
    }


def convert_authors_pool(
    state_dict: Mapping[str, Tensor], pool: nn.Module
) -> dict[str, Tensor]:
    """Convert the state dict of one of the authors' pools.

    Args:
        state_dict (Mapping[str, Tensor]): Their state dict.
        pool (nn.Module): The pool of this package that it is for. What does not fit
            keeps its name, so that `load_state_dict` says so.

    Example:
        >>> theirs = {'logit.0.weight': torch.ones(4, 4, 1, 1)}
        >>> sorted(convert_authors_pool(theirs, LocalImportancePool2d(4)))
        ['conv.weight', 'norm.num_batches_tracked']
    """
    names = _pool_names(pool, state_dict)
    converted = {names[name]: value for name, value in state_dict.items()}
    defaults = {name: _default(name) for name in pool.state_dict()}
    return {n: v for n, v in defaults.items() if v is not None} | converted


def authors_names(state_dict: Mapping[str, Tensor], arch: str) -> dict[str, str | None]:
    """Our name of every entry → the authors', None where theirs has no such entry.

    Args:
        state_dict (Mapping[str, Tensor]): As in `convert_authors_state_dict`.
        arch (str): As in `convert_authors_state_dict`.

    Raises:
        ConfigError: As in `convert_authors_state_dict`.

    Example:
        >>> from attnpool_mm.models import attn_pool_backbone
        >>> theirs = attn_pool_backbone('resnet18-skip-1222').state_dict()
        >>> authors_names(theirs, 'resnet18-skip-1222')['backbone.bn1.weight']
        'bn1.weight'
    """
    from ..models import arch_to_config  # here, since MMPretrain takes its time

    config = arch_to_config(arch)
    check_theirs(state_dict)
    with NoRandomFills():
        backbone = MODELS.build(config)
    plain = {re.sub(r"^((module|net)\.)+", "", key): key for key in state_dict}
    if len(plain) < len(state_dict):
        raise ConfigError("state_dict: two entries differ in their prefixes alone")
    _refuse_other_keyword(plain, arch)
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
    found = _name_inside_pools(found, backbone)
    found = {f"backbone.{ours}": key for ours, key in found.items()} | heads
    shapes = {f"backbone.{n}": v.shape for n, v in backbone.state_dict().items()}
    shapes |= classifier_shapes(state_dict, heads.values(), backbone.out_channels[-1])
    optional = {name for name in shapes if _default(name) is not None}
    problems = misfits(state_dict, found, shapes, optional)
    if problems:
        raise ConfigError(f"state_dict does not fit arch={arch!r}: {problems}")
    return {name: found.get(name) for name in shapes}


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
    if name.startswith("conv1_pool."):
        return name.replace("conv1_pool", "conv1.pool")
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


def _name_inside_pools(found: Mapping[str, str], backbone: nn.Module) -> dict[str, str]:
    found = dict(found)
    for place, pool in backbone.named_modules():
        if not place.endswith("pool"):
            continue
        prefix = f"{place}."
        inside = {
            name.removeprefix(prefix): found.pop(name)
            for name in list(found)
            if name.startswith(prefix)
        }
        ours = _pool_names(pool, inside)
        for name, key in inside.items():
            found.setdefault(f"{prefix}{ours[name]}", key)
    return found


def _pool_names(pool: nn.Module, theirs: Iterable[str]) -> dict[str, str]:
    """Their name of every entry of a pool → ours; what is unknown keeps its name."""
    mixed = isinstance(pool, MixedPool2d)
    parts = [(f"pools.{i}.", p) for i, p in enumerate(pool.pools)] if mixed else []
    names = {name: name for name in theirs}
    for prefix, part in parts or [("", pool)]:
        table = POOL_NAMES.get(type(part), {})
        known = {name: _known_name(name, table) for name in names}
        names |= {name: prefix + ours for name, ours in known.items() if ours}
    return names


def _known_name(name: str, table: Mapping[str, str]) -> str | None:
    """Our name, wherever in theirs a layer of the table stands."""
    for theirs, ours in table.items():
        match = re.search(rf"(?:^|\.){re.escape(theirs)}(?=\.|$)", name)
        if match:
            return ours + name[match.end() :]
    return None


def deformable_patches(config: Mapping[str, Any]) -> list[int]:
    """The patch sizes of the deformable pools in a backbone's config, sorted.

    Args:
        config (Mapping[str, Any]): As `arch_to_config` gives it.

    Example:
        >>> from attnpool_mm.models import arch_to_config
        >>> deformable_patches(arch_to_config('resnet18-dfmixp_reduced-1222'))
        [1, 2]
    """
    pools = [*(config.get("pool_cfg") or ()), config.get("stem_pool_cfg")]
    pools = [pool for pool in pools if pool]
    parts = [part for pool in pools for part in pool.get("pools", [pool])]
    deformable = DeformableSelfAttentivePool2d.__name__
    return sorted({p["patch_size"] for p in parts if p["type"] == deformable})


def _about_sampler(arch: str, patches: Sequence[int]) -> str:
    beside = [str(p) for p in patches if p // 2 != 1]
    reads = f"read beside for patches of {' and '.join(beside)} and " if beside else ""
    return (
        f"arch={arch!r}: the authors' deformable sampler {reads}counted the border "
        "double; the outputs of this network differ from theirs"
    )


def _refuse_other_keyword(names: Iterable[str], arch: str) -> None:
    """Say which keyword it is if there are deformable pools and `arch` has none."""
    parts = arch.strip().lower().split("-")
    in_stem = {"maxpool", "pool", "conv1_pool"}
    stem = [name for name in names if name.split(".")[0] in in_stem]
    stages = set(names).difference(stem)
    for index, entries in ((1, stem), (-2, stages)):
        deformable = any("offset_conv.offset_conv." in name for name in entries)
        base, *suffixes = parts[index].split("_")
        if not deformable or base in ("dfmnlp", "dfmixp"):
            continue
        base = "dfmixp" if any(".local." in name for name in entries) else "dfmnlp"
        parts[index] = "_".join([base, *suffixes])
    if "-".join(parts) != arch.strip().lower():
        raise ConfigError(
            f"arch={arch!r}: the state_dict holds deformable pools; it is "
            f"arch={'-'.join(parts)!r}"
        )


def _default(name: str) -> Tensor | None:
    """What theirs may lack."""
    if name.endswith(".temperature"):
        return torch.tensor(AUTHORS_TEMPERATURE)
    if name.endswith(".num_batches_tracked"):
        return torch.tensor(0)
    return None
