"""Weights of one network's backbone → a checkpoint for another network."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..layers import DynamicConv2d
from ..utils.errors import ConfigError
from .state_dict import is_state_dict

PREFIX = "backbone."
# of a bare network, whose backbone has no prefix
CLASSIFIER = re.compile(r"(fc|linear|classifier|head)\.")
TORCHVISION_MOBILENET = re.compile(r"features\.\d+\.")
BLOCK = re.compile(r"(layer\d+\.\d+|features\.\d+)\.")
CONV_AND_NORM = ("conv", "bn")


@dataclass(frozen=True)
class BackboneTransfer:
    """What of a state dict a backbone takes.

    Attributes:
        state_dict: `backbone.…` → the tensor, in the shape that the backbone has.
        matched: The backbone's names that the source has.
        missing: The backbone's names that it has not.
        unexpected: Names of the source's backbone, without prefix, that the backbone
            has not.
        left_out: Names of the source that are of no backbone, such as a head's.
    """

    state_dict: dict[str, Tensor]
    matched: list[str]
    missing: list[str]
    unexpected: list[str]
    left_out: list[str]


def transfer_backbone(
    state_dict: Mapping[str, Tensor], backbone: nn.Module, partial: bool = False
) -> BackboneTransfer:
    """Take from a state dict, by name, what fits a backbone.

    The state dict may be of a classifier or a detector of MMPretrain, MMDetection or
    this package (`backbone.…`), of a backbone alone, or of a ResNet or MobileNetV2 of
    torchvision; all with or without `module.` in front. A plain convolution's weight
    goes into each kernel of a `DynamicConv2d`.

    Args:
        state_dict (Mapping[str, Tensor]): The source.
        backbone (nn.Module): The backbone that the weights are for; it is left as it
            is.
        partial (bool): Whether one of them may have residual blocks that the other has
            not, as networks of different depths do. Default: False.

    Raises:
        ConfigError: No name matches, an entry has another shape, or (without
            `partial`) a block is on one side only; both sides are named.

    Example:
        >>> from attnpool_mm.models import attn_pool_backbone
        >>> source = attn_pool_backbone('resnet18-skip-1222').state_dict()
        >>> target = attn_pool_backbone('resnet18-lip-1222')
        >>> done = transfer_backbone(source, target)
        >>> len(done.matched), done.missing[0]
        (120, 'layer2.pool.conv.weight')
        >>> 'backbone.conv1.weight' in done.state_dict
        True
    """
    if not is_state_dict(state_dict):
        raise ConfigError("state_dict: a dict of names and tensors is accepted")
    expected = backbone.state_dict()
    source, left_out = _backbone_part(state_dict, expected)
    matched = [name for name in expected if name in source]
    if not matched:
        raise ConfigError(
            f"no weight matches: the source has {_some(state_dict)}; the target's "
            f"backbone has {_some(expected)}"
        )
    shapes = {name: expected[name].shape for name in matched}
    values = {
        name: _fitted(source[name], name, shape, backbone)
        for name, shape in shapes.items()
    }
    wrong = [
        f"{name} is {_size(source[name].shape)}, not {_size(shapes[name])}"
        for name, value in values.items()
        if value.shape != shapes[name]
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ConfigError(
            f"the source is of another network: {', '.join(wrong[:5])}{more}"
        )
    if not partial:
        _check_blocks(source, expected)
    return BackboneTransfer(
        state_dict={f"{PREFIX}{name}": value for name, value in values.items()},
        matched=matched,
        missing=[name for name in expected if name not in source],
        unexpected=[name for name in source if name not in expected],
        left_out=left_out,
    )


def torchvision_mobilenet_names(
    names: Iterable[str], backbone_names: Iterable[str]
) -> dict[str, str]:
    """Names of torchvision's MobileNetV2 → MMPretrain's, which are ours too.

    torchvision counts all blocks in one row, and every convolution and norm of a
    block; here there are stages, and a convolution has its norm with it.

    Args:
        names (Iterable[str]): The names, `features.…`; others are left out.
        backbone_names (Iterable[str]): Names of the backbone, which say how many blocks
            a stage has.

    Example:
        >>> theirs = ['features.1.conv.0.0.weight', 'features.1.conv.1.weight']
        >>> ours = ['layer1.0.conv.0.conv.weight', 'layer1.0.conv.1.conv.weight']
        >>> list(torchvision_mobilenet_names(theirs, ours).values()) == ours
        True
    """
    names = list(names)
    found = (re.match(r"layer(\d+)\.(\d+)\.", name) for name in backbone_names)
    places = sorted({(int(m[1]), int(m[2])) for m in found if m})
    blocks = [f"layer{stage}.{block}" for stage, block in places]
    # In features.<i>.conv, features.0 and the last: a number for a convolution with
    # its norm and activation, another for which of them. A block's last convolution
    # and its norm have numbers of their own, one after the other.
    pattern = re.compile(
        r"features\.(\d{1,4})\.(?:(conv)\.(\d{1,4})\.)?(?:([01])\.)?(\w+)"
    )
    entries = {name: m for name in names if (m := pattern.fullmatch(name))}
    ends = [int(m[1]) for m in entries.values() if m[2] is None]
    paired: dict[str, int] = {}
    for m in entries.values():
        if m[2] and m[4]:
            paired[m[1]] = max(paired.get(m[1], 0), int(m[3]) + 1)
    converted = {}
    for name, m in entries.items():
        place, leaf = int(m[1]), m[5]
        if m[2] is None:
            end = "conv1" if place == 0 else "conv2" if place == max(ends) else None
            if end and m[4]:
                converted[name] = f"{end}.{CONV_AND_NORM[int(m[4])]}.{leaf}"
        elif 1 <= place <= len(blocks):
            number, last = int(m[3]), paired.get(m[1], 0)
            part = int(m[4]) if m[4] else number - last
            if part in (0, 1):
                conv = f"conv.{min(number, last)}.{CONV_AND_NORM[part]}"
                converted[name] = f"{blocks[place - 1]}.{conv}.{leaf}"
    return converted


def group_names(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by where they are: in a layer of the stem, a stage, a stage's pool.

    Example:
        >>> group_names(['conv1.weight', 'layer1.0.bn1.bias', 'layer2.pool.conv.bias'])
        {'conv1': ['weight'], 'layer1': ['0.bn1.bias'], 'layer2.pool': ['conv.bias']}
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        group = re.match(r"[^.]+(\.pool(?=\.))?", name)[0]
        groups.setdefault(group, []).append(name.removeprefix(group).lstrip("."))
    return groups


def _backbone_part(
    state_dict: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The backbone's entries without prefix, and the names of the others."""
    plain = {re.sub(r"^(module\.)+", "", name): v for name, v in state_dict.items()}
    if len(plain) < len(state_dict):
        raise ConfigError("state_dict: two entries differ in 'module.' alone")
    if any(name.startswith(PREFIX) for name in plain):
        names = {n: n.removeprefix(PREFIX) for n in plain if n.startswith(PREFIX)}
    else:
        names = {n: n for n in plain if not CLASSIFIER.match(n)}
    if any(TORCHVISION_MOBILENET.match(name) for name in names.values()):
        renamed = torchvision_mobilenet_names(names.values(), expected)
        names = {n: renamed.get(inner, inner) for n, inner in names.items()}
    part = {inner: plain[name] for name, inner in names.items()}
    return part, [name for name in plain if name not in names]


def _check_blocks(source: Iterable[str], target: Iterable[str]) -> None:
    theirs, ours = _blocks(source), _blocks(target)
    lacking = [
        f"{side} lacks {_some(blocks, 'blocks')}"
        for side, blocks in (
            ("the source", [block for block in ours if block not in theirs]),
            ("the target", [block for block in theirs if block not in ours]),
        )
        if blocks
    ]
    if lacking:
        raise ConfigError(
            f"the source has {len(theirs)} residual blocks, the target's backbone "
            f"{len(ours)}: {'; '.join(lacking)}. With --partial, or partial=True, what "
            "matches is taken"
        )


def _blocks(names: Iterable[str]) -> list[str]:
    found = (BLOCK.match(name) for name in names)
    return list(dict.fromkeys(m[1] for m in found if m))


def _fitted(
    value: Tensor, name: str, shape: Sequence[int], backbone: nn.Module
) -> Tensor:
    owner = backbone.get_submodule(name.rpartition(".")[0])
    if isinstance(owner, DynamicConv2d) and value.shape == shape[1:]:
        return value.expand(shape).clone()
    return value


def _some(names: Iterable[str], what: str = "names") -> str:
    names = list(names)
    more = f", … ({len(names)} {what})" if len(names) > 4 else ""
    return (", ".join(names[:4]) or "nothing") + more


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
