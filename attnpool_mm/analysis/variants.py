"""A config's network with other strides, width, image size or pool."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from ..models.keywords import arch_to_config
from ..utils.config import NoRandomFills, image_size, registered, type_name
from ..utils.errors import ConfigError
from ..utils.signatures import arguments
from .resizing import set_image_size

STRIDED = "strided"
FIRST_STRIDES = (1, 2, 4)
WIDTH_FACTORS = (1, 0.75, 0.5)
SIZE_FACTORS = (1, 0.75, 0.5)


@dataclass(frozen=True)
class Variant:
    """What a network differs in from that of its config; None is the config's own.

    Attributes:
        strides: Stride of each stage.
        width: Channels over those of the standard network: a MobileNetV2's
            `widen_factor`, or a ResNet's `base_channels` over the usual ones.
        size: Width and height of the images in pixels.
        pool: Type of the pool, 'strided' for strided convolutions.
    """

    strides: tuple[int, ...] | None = None
    width: float | None = None
    size: int | None = None
    pool: str | None = None

    @property
    def name(self) -> str:
        """A name for files, such as '2222-w0.5-32px-SelfAttentivePool2d'."""
        parts = (
            self.strides and digits(self.strides),
            self.width and f"w{self.width:g}",
            self.size and f"{self.size}px",
            self.pool and self.pool.replace(".", "_"),
        )
        return "-".join(filter(None, parts)) or "as-it-is"


@dataclass
class Choices:
    """The values that a config's network can have; none where it cannot vary.

    Attributes:
        strides: Strides of the stages; the first is the config's own, as below.
        widths: Widths.
        sizes: Image sizes in pixels.
        pools: Types of pools.
    """

    strides: list[tuple[int, ...]] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    pools: list[str] = field(default_factory=list)

    def variants(self) -> Iterator[Variant]:
        """Every combination; those that differ in the size alone are neighbours."""
        values = (self.pools, self.strides, self.widths, self.sizes)
        for pool, *others in product(*(value or [None] for value in values)):
            yield Variant(*others, pool)


def choices_of(cfg: Config) -> Choices:
    """What can be varied in a config's network, with values to begin with.

    They are the config's own strides, and those with 1, 2 and 4 in the first stage; its
    width and its size, three quarters of them and half of them; its pool and strided
    convolutions. Of a detector it is the pool alone: its neck and anchors would have to
    follow the rest.

    Args:
        cfg (Config): A whole config.

    Raises:
        ConfigError: Its backbone is none that is known.
    """
    parts = _Parts(cfg)
    choices = Choices()
    if parts.takes_pool:
        own = parts.pool_name
        choices.pools = [own, "SelfAttentivePool2d" if own == STRIDED else STRIDED]
    if cfg.default_scope == "mmdet":
        return choices
    if parts.strides:
        own = parts.strides
        others = [(first, *own[1:]) for first in FIRST_STRIDES]
        choices.strides = list(dict.fromkeys([own, *others]))
    if parts.width_argument:
        choices.widths = [round(parts.width * f, 3) for f in WIDTH_FACTORS]
    side, other = image_size(cfg)
    if side == other:
        choices.sizes = [round(side * f) for f in SIZE_FACTORS]
    return choices


def vary(cfg: Config, variant: Variant) -> Config:
    """A copy of a config with another network.

    A pool of the config's own type keeps its arguments; of a list with a pool a stage,
    a stage that has none takes the next one's. Another type has its defaults. Where the
    width changes, `head.in_channels` follows the backbone.

    Args:
        cfg (Config): A whole config.
        variant (Variant): What changes. None leaves it as it is.

    Raises:
        ConfigError: The network does not have such an argument, its backbone cannot be
            built, or the size cannot be set.
    """
    cfg = deepcopy(cfg)
    parts = _Parts(cfg)
    if variant.pool is not None:
        parts.set_pool(variant.pool)
    if variant.strides is not None:
        parts.set_strides(variant.strides)
    if variant.width is not None and parts.set_width(variant.width):
        _fit_head(cfg)
    if variant.size is not None:
        set_image_size(cfg, variant.size)
        if "image_size" in arguments(parts.outer_kind):
            parts.outer.image_size = (variant.size, variant.size)
    return cfg


def digits(strides: Sequence[int]) -> str:
    """Strides as in the authors' keywords.

    Example:
        >>> digits((1, 2, 2, 2)), digits((16, 2))
        ('1222', '16,2')
    """
    return ("," if max(strides) > 9 else "").join(map(str, strides))


def read_digits(text: str, name: str) -> tuple[int, ...]:
    """Strides of the form that `digits` writes.

    Args:
        text (str): Digits, or numbers with commas between them.
        name (str): What an error calls them.

    Raises:
        ConfigError: They are no positive integers.

    Example:
        >>> read_digits('1222', '--strides'), read_digits('16,2', '--strides')
        ((1, 2, 2, 2), (16, 2))
    """
    parts = text.split(",") if "," in text else list(text)
    if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"{name} {text}: digits such as 1222 are accepted")
    return tuple(map(int, parts))


class _Parts:
    """The dicts of a config that say what its backbone is.

    `outer` takes the pool, `inner` strides and width: of a `PooledBackbone` its
    backbone, else the same.
    """

    def __init__(self, cfg: Config):
        model = cfg.get("model") or {}
        if type_name(model) in ("PrunedModel", "pruned_model"):
            raise ConfigError(
                f"model type={model['type']!r}: its layers have the widths that "
                "pruning left; the config that was pruned is accepted"
            )
        backbone = model.get("backbone")
        if not isinstance(backbone, dict) or "type" not in backbone:
            raise ConfigError("model.backbone: a dict with a type is expected")
        if type_name(backbone) in ("AttnPoolBackbone", "attn_pool_backbone"):
            given = {k: v for k, v in backbone.items() if k not in ("type", "arch")}
            cfg.model.backbone = {**arch_to_config(backbone.get("arch")), **given}
        self.outer = self.inner = cfg.model.backbone
        self.outer_kind = self.kind = _class_of(self.outer, cfg)
        if isinstance(self.outer.get("backbone"), dict):
            self.inner = self.outer.backbone
            self.kind = _class_of(self.inner, cfg)
        self.takes_pool = "pool_cfg" in arguments(self.outer_kind)

    @property
    def pool_name(self) -> str:
        pool_cfg = self.outer.get("pool_cfg")
        pools = pool_cfg if isinstance(pool_cfg, (list, tuple)) else [pool_cfg]
        return next((type_name(pool) for pool in pools if pool), STRIDED)

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides, or none where the backbone has no such argument."""
        return tuple(self._value("strides") or ())

    @property
    def width_argument(self) -> str | None:
        names = ("widen_factor", "base_channels")
        taken = arguments(self.kind)
        if "arch" in taken:  # which says the widths of all stages but the first
            names = names[:1]
        return next((name for name in names if name in taken), None)

    @property
    def width(self) -> float:
        name = self.width_argument
        value = self._value(name)
        return value if name == "widen_factor" else value / self._default(name)

    def set_pool(self, pool: str) -> None:
        self._check("pools", self.takes_pool)
        if pool == STRIDED:
            self.outer.pool_cfg = None
        elif pool != self.pool_name:
            self.outer.pool_cfg = dict(type=pool)

    def set_strides(self, strides: tuple[int, ...]) -> None:
        self._check("strides", self.strides)
        own, self.inner.strides = self.strides, strides
        pools = self.outer.get("pool_cfg")
        if not isinstance(pools, (list, tuple)):
            return
        # A PooledBackbone has a pool for each stage that shrinks the map, if it is not
        # told which; the other backbones have one for each stage.
        by_shrinking = self.outer is not self.inner
        if by_shrinking and len(pools) == sum(stride > 1 for stride in own):
            given = iter(pools)
            pools = [next(given) if stride > 1 else None for stride in own]
        elif by_shrinking:
            return
        pools, following = list(pools), None
        for i in reversed(range(len(pools))):
            pools[i] = following = pools[i] or following
        if by_shrinking:
            pools = [p for p, s in zip(pools, strides, strict=False) if s > 1]
        self.outer.pool_cfg = pools

    def set_width(self, width: float) -> bool:
        """Set the width; return whether it is another one."""
        self._check("widths", self.width_argument)
        if width == self.width:
            return False
        if self.width_argument == "widen_factor":
            self.inner.widen_factor = width
            return True
        for name in ("base_channels", "stem_channels"):
            if isinstance(self._default(name), int):
                self.inner[name] = max(1, round(width * self._default(name)))
        return True

    def _value(self, name: str) -> Any:
        return self.inner.get(name, self._default(name))

    def _default(self, name: str) -> Any:
        parameter = arguments(self.kind).get(name)
        default = None if parameter is None else parameter.default
        return None if parameter is None or default is parameter.empty else default

    def _check(self, what: str, can_vary: Any) -> None:
        if not can_vary:
            names = {
                "strides": self.strides,
                "widths": self.width_argument,
                "pools": self.takes_pool,
            }
            others = [name for name, there in names.items() if there] + ["sizes"]
            raise ConfigError(
                f"{what}: {self.kind.__name__} cannot vary in them, but in "
                f"{', '.join(others)}"
            )


def _class_of(backbone: dict, cfg: Config) -> Callable:
    kind = registered(backbone.get("type"), MODELS, cfg.get("default_scope"))
    if kind is None:
        raise ConfigError(f"model.backbone type={backbone.get('type')!r}: not known")
    return kind


def _fit_head(cfg: Config) -> None:
    """Give the head as many channels as the backbone has, if it says how many."""
    head = cfg.model.get("head") or {}
    if "in_channels" not in head:
        return
    with DefaultScope.overwrite_default_scope(cfg.default_scope), NoRandomFills():
        try:
            backbone = MODELS.build(cfg.model.backbone)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"model.backbone: {error}") from error
    channels = getattr(backbone, "out_channels", None)
    if isinstance(channels, (list, tuple)):
        head.in_channels = channels[-1]
