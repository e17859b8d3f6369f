"""Architecture keywords: `resnet18-nlp_headfix2_nowin-1222` → a backbone's config."""

import difflib
import re
import warnings
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NoReturn

from torch import nn

from ..registry import MODELS
from ..utils.checks import check_known_arguments
from ..utils.errors import ConfigError
from .keyword_tables import (
    BACKBONES,
    DYNAMIC,
    HEADS,
    MOBILENET,
    NO_POOL,
    PATCHES,
    PLAIN_POOLS,
    POOLED,
    RESNET,
    SELF_ATTENTIVE_POOLS,
    STRIDES,
    SUFFIXES,
    USUAL_STRIDES,
)
from .resnet_cifar import blocks_per_stage

GRAMMAR = "[prepool-POOL-STRIDE-]BACKBONE-POOL-STRIDES, or spem-DEPTH"


def arch_to_config(arch: str) -> dict[str, Any]:
    """The backbone's config that an architecture keyword of the authors stands for.

    Args:
        arch (str): `[prepool-POOL-STRIDE-]BACKBONE-POOL-STRIDES` in upper or lower
            case.

            - BACKBONE: `resnet18`, `resnet50` (pools at the stages' ends),
              `resnet18_v2`, `resnet50_v2` (after the first block), `mobilenet`
              (MobileNetV2, before the first block), `mobilenet_v2` (after it);
              `mobilenetv3_small`, `mobilenetv3_large`, `resnext50`, `regnetx_400mf`
              (MMPretrain's, after the block with the stride); each also with `dy` in
              front: dynamic convolutions.
            - POOL: `skip` (strided convolution), `maxp`, `avgp`, `lip`,
              `gaussian_pool`, `attnpool`; `nlp`, `dfmnlp`, `mixp`, `dfmixp`,
              `nlpnoexp`, `nlpnosigmoid`, `nlpnope`, `nlpnobn1`, `nlpnobn2`, these
              with any of the suffixes `_headfix2` (2 heads in every stage), `_nowin`
              (not normalised) and one of `_reduced`, `_reduced0211`, `_reduced0842`
              (larger patches).
            - STRIDES: a digit a stage: 4 for a ResNet, ResNeXt or RegNet, 7 for a
              MobileNetV2, 11 for a small MobileNetV3 and 15 for a large one.
            - `prepool-POOL-STRIDE`, of ResNets and MobileNetV2: the stem's convolution
              gets stride 1, and that pool follows it, in a ResNet in the place of the
              max-pool. With `skip` the convolution of a MobileNetV2 gets STRIDE, and
              the stem of a ResNet does not shrink the map, with a warning.

            Or `spem-DEPTH`: the CIFAR ResNet with bottlenecks and SPEM.

    Returns:
        A dict of plain values for `AttnPoolResNet`, `AttnPoolMobileNetV2`,
        `AttnPoolMobileNetV3`, `AttnPoolResNetCIFAR` or `PooledBackbone`.

    Raises:
        ConfigError: A part of the keyword is not in the grammar.

    Source:
        The code of "Self-Attentive Pooling for Efficient Deep Learning", WACV 2023,
        arXiv 2209.07659.

    Example:
        >>> config = arch_to_config('resnet18-nlp_headfix2_nowin-1222')
        >>> config['depth'], config['strides'], config['pool_position']
        (18, (1, 2, 2, 2), 'stage_end')
        >>> config['pool_cfg'][1]['num_heads'], config['pool_cfg'][1]['normalize']
        (2, False)
    """
    if not isinstance(arch, str):
        raise ConfigError(f"arch={arch!r}: a keyword {GRAMMAR} is accepted")
    return _Keyword(arch).config()


class _Keyword:
    """A keyword and its parts; the errors name the whole and the part."""

    def __init__(self, arch: str):
        self.arch = arch
        self.parts = arch.strip().lower().split("-")

    def config(self) -> dict[str, Any]:
        parts = self.parts
        if parts[0] == "spem":
            return self._spem()
        prepool = parts[0] == "prepool"
        if len(parts) != (6 if prepool else 3):
            self._first_part()
            self._fail(f"{len(parts)} parts separated by '-': {GRAMMAR} is accepted")
        backbone, pool, strides = parts[-3:]
        dynamic = backbone.startswith("dy")
        name = backbone.removeprefix("dy")
        if name not in BACKBONES:
            if not prepool:
                self._first_part()
            self._wrong_backbone(backbone)
        config = deepcopy(BACKBONES[name])
        strides = self._strides(strides, STRIDES.get(name, USUAL_STRIDES))
        conv_cfg = DYNAMIC if dynamic else None
        pools = self._pools(pool, strides, conv_cfg)
        if prepool and config["type"] not in (RESNET, MOBILENET):
            self._fail(f"prepool: ResNets and MobileNetV2 have one, {name} has none")
        if config["type"] == POOLED:
            return _pooled(config, strides, pools, conv_cfg)
        config.update(strides=strides, pool_cfg=pools)
        if dynamic:
            config["conv_cfg"] = dict(DYNAMIC)
        if prepool:
            config.update(self._prepool(*parts[1:3], config["type"], conv_cfg))
        elif config["type"] == RESNET:
            config["stem_pool_cfg"] = dict(type="MaxPool2d", kernel_size=2)
        return config

    def _strides(self, text: str, usual: str) -> tuple[int, ...]:
        if not re.fullmatch(f"[1-9]{{{len(usual)}}}", text):
            self._fail(
                f"strides {text!r}: {len(usual)} digits from 1 to 9 are accepted, one "
                f"a stage, e.g. {usual}"
            )
        return tuple(map(int, text))

    def _pools(
        self, text: str, strides: Sequence[int], conv_cfg: dict | None
    ) -> list[dict | None]:
        """The pool of each stage."""
        base, suffixes = self._pool("pool", text)
        if base in PLAIN_POOLS:
            pool = PLAIN_POOLS[base]
            return [dict(pool) if pool and s > 1 else None for s in strides]
        stages = len(strides)
        heads = (2,) * stages if "headfix2" in suffixes else HEADS[stages]
        patches: Sequence[int | None] = (1,) * stages
        reduced = _reduced(suffixes)
        if reduced:
            if (stages, reduced) not in PATCHES:
                counts = [str(n) for n, suffix in PATCHES if suffix == reduced]
                self._fail(f"pool {text!r}: _{reduced} is for backbones of "
                           f"{' or '.join(counts)} stages, not {stages}")  # fmt: skip
            patches = PATCHES[stages, reduced]
        pools: list[dict | None] = []
        for stride, head, patch in zip(strides, heads, patches, strict=True):
            if stride > 1 and patch is None:
                self._fail(
                    f"pool {text!r}: _{reduced} has no patch for the first stage; "
                    f"stride 1 is accepted there, not {stride}"
                )
            pools.append(
                _self_attentive(
                    base,
                    num_heads=head,
                    patch_size=patch,
                    normalize="nowin" not in suffixes,
                    **_optional(conv_cfg=conv_cfg),
                )
                if stride > 1
                else None
            )
        return pools

    def _prepool(
        self, text: str, stride: str, backbone: str, conv_cfg: dict | None
    ) -> dict[str, Any]:
        """The arguments of the stem."""
        base, suffixes = self._pool("prepool's pool", text)
        if not re.fullmatch("[2-9]|[1-5][0-9]|6[0-4]", stride):
            self._fail(f"prepool stride {stride!r}: an integer from 2 to 64 "
                       "is accepted")  # fmt: skip
        if base == "skip":
            return self._skip_prepool(int(stride), backbone)
        if base in PLAIN_POOLS:
            pool = dict(PLAIN_POOLS[base])
        else:
            # The authors' prepool has no "nowin".
            reduced = _reduced(suffixes)
            pool = _self_attentive(
                base,
                num_heads=2 if "headfix2" in suffixes else 8,
                patch_size=int(stride) if reduced else 2,
                normalize=True,
                **_optional(embed_ratio=0.25 if reduced else None, conv_cfg=conv_cfg),
            )
        return dict(stem_stride=1, stem_pool_cfg={**pool, "stride": int(stride)})

    def _skip_prepool(self, stride: int, backbone: str) -> dict[str, Any]:
        """As the authors' code has it, in which a skip is no layer."""
        if backbone == MOBILENET:
            return dict(stem_stride=stride)
        warnings.warn(
            f"arch={self.arch!r}: in a ResNet the authors' prepool-skip is no layer; "
            f"the stem does not shrink the map, and the stride {stride} is not used",
            stacklevel=4,
        )
        return dict(stem_stride=1, stem_pool_cfg=dict(NO_POOL))

    def _pool(self, what: str, text: str) -> tuple[str, list[str]]:
        """The pool's name and its suffixes."""
        if text in PLAIN_POOLS:
            return text, []
        base, *suffixes = text.split("_")
        plain = next((p for p in PLAIN_POOLS if text.startswith(f"{p}_")), None)
        if plain:
            self._fail(f"{what} {text!r}: {plain} takes no suffix; only "
                       f"{', '.join(SELF_ATTENTIVE_POOLS)} do")  # fmt: skip
        if base not in SELF_ATTENTIVE_POOLS:
            # gaussian_pool has two words, which are no name and a suffix.
            whole = difflib.get_close_matches(text, PLAIN_POOLS, n=1, cutoff=0.7)
            text = text if whole else base
            self._wrong(what, text, (*PLAIN_POOLS, *SELF_ATTENTIVE_POOLS),
                        near=_forgotten_underscore(text))  # fmt: skip
        for suffix in suffixes:
            if suffix not in SUFFIXES:
                self._wrong(f"suffix of {what} {text!r},", suffix, SUFFIXES)
        if len(set(suffixes)) < len(suffixes):
            self._fail(f"{what} {text!r}: each suffix is accepted once")
        if sum(s.startswith("reduced") for s in suffixes) > 1:
            self._fail(f"{what} {text!r}: one of _reduced, _reduced0211 and "
                       "_reduced0842 is accepted")  # fmt: skip
        return base, suffixes

    def _spem(self) -> dict[str, Any]:
        depth = "-".join(self.parts[1:])
        if not re.fullmatch("[0-9]+", depth):
            self._fail(f"depth {depth!r}: an integer is accepted, as in spem-164")
        try:
            blocks_per_stage(int(depth), "bottleneck")
        except ConfigError as error:
            self._fail(str(error))
        return dict(
            type="attnpool_mm.AttnPoolResNetCIFAR",
            depth=int(depth),
            block="bottleneck",
            attention_cfg=dict(type="SPEM"),
        )

    def _first_part(self) -> None:
        """Fail if the first part begins no keyword."""
        first = self.parts[0]
        if first in ("prepool", "spem") or first.removeprefix("dy") in BACKBONES:
            return
        near = difflib.get_close_matches(first, ("prepool", "spem"), n=1)
        self._wrong_backbone(first, near[0] if near else None)

    def _wrong_backbone(self, text: str, near: str | None = None) -> NoReturn:
        names = [f"{dy}{name}" for dy in ("", "dy") for name in BACKBONES]
        near = near or _nearest(text, names)
        accepted = [*BACKBONES, "each also with dy in front"]
        self._wrong("backbone", text, accepted, near)

    def _wrong(
        self, what: str, text: str, accepted: Sequence[str], near: str | None = None
    ) -> NoReturn:
        near = near or _nearest(text, accepted)
        hint = f"; did you mean {near!r}?" if near else ""
        self._fail(f"{what} {text!r}: accepted are {', '.join(accepted)}{hint}")

    def _fail(self, message: str) -> NoReturn:
        raise ConfigError(f"arch={self.arch!r}: {message}")


def _pooled(
    config: dict, strides: Sequence[int], pools: list[dict | None], conv_cfg: Any
) -> dict[str, Any]:
    """The config of a network that `PooledBackbone` pools."""
    config["backbone"].update(strides=strides)
    if conv_cfg:
        config["backbone"]["conv_cfg"] = dict(type="attnpool_mm.DynamicConv2d")
    stages = [f"layer{i + 1}" for i, pool in enumerate(pools) if pool]
    pool_cfg = [pool for pool in pools if pool] or None
    return config | dict(pool_cfg=pool_cfg, stages=stages or None)


def _nearest(text: str, names: Sequence[str]) -> str | None:
    return next(iter(difflib.get_close_matches(text, names, n=1, cutoff=0.5)), None)


def _forgotten_underscore(text: str) -> str | None:
    """`nlp_headfix2` for `nlpheadfix2`."""
    for suffix in SUFFIXES:
        base = text.removesuffix(suffix)
        if base != text and base in SELF_ATTENTIVE_POOLS:
            return f"{base}_{suffix}"
    return None


def _reduced(suffixes: Sequence[str]) -> str | None:
    return next((s for s in suffixes if s.startswith("reduced")), None)


def _optional(**kwargs: Any) -> dict[str, Any]:
    """Copies of those arguments that are given."""
    return {key: deepcopy(v) for key, v in kwargs.items() if v is not None}


def _self_attentive(base: str, normalize: bool, **kwargs: Any) -> dict[str, Any]:
    """The config of a self-attentive pool, or of a mixture with one in it."""
    pool = {**SELF_ATTENTIVE_POOLS[base], **kwargs}
    if base == "mixp":
        pools = [dict(type="LocalImportancePool2d"), pool]
    elif base == "dfmixp":
        local = dict(
            type="LocalImportancePool2d",
            kernel_size=pool["patch_size"],
            **_optional(conv_cfg=kwargs.get("conv_cfg")),
        )
        pools = [pool, local]
    else:
        return {**pool, "normalize": normalize}
    return dict(type="MixedPool2d", pools=pools, normalize=normalize)


@MODELS.register_module(name="AttnPoolBackbone")
def attn_pool_backbone(arch: str, **kwargs: Any) -> nn.Module:
    """Build the backbone that an architecture keyword stands for.

    In a config its name is `AttnPoolBackbone`.

    Args:
        arch (str): The keyword, as `arch_to_config` takes it.
        **kwargs (Any): Other arguments of the backbone: `out_indices`, `frozen_stages`,
            `norm_eval`, `norm_cfg`, `with_cp`, `init_cfg`, ….

    Raises:
        ConfigError: The keyword is wrong, or an argument is one that it gives or that
            the backbone does not take.

    Returns:
        A network of the class that `arch_to_config` names, or of the one inside a
        `PooledBackbone`.

    Example:
        >>> backbone = attn_pool_backbone(
        ...     'mobilenet_v2-lip-1222121', out_indices=(4, 7))
        >>> type(backbone).__name__, backbone.out_channels
        ('AttnPoolMobileNetV2', (96, 1280))
    """
    config = arch_to_config(arch)
    own = config["backbone"] if config["type"] == POOLED else config
    twice = sorted(set(own) & set(kwargs))
    if twice:
        raise ConfigError(
            f"{', '.join(twice)}: given by arch={arch!r} already; change the keyword, "
            f"or use type={own['type']!r} with arguments of its own"
        )
    check_known_arguments(MODELS.get(own["type"]), kwargs)
    own.update(kwargs)
    return MODELS.build(config)
