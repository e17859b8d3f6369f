"""A pool whose weights are the product of other pools' weights."""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from ..registry import MODELS
from ..utils.checks import argument_names
from ..utils.errors import ConfigError
from .build import build_pool, pool_class
from .weighted import WeightedPool2d, upsample_nearest


@MODELS.register_module()
class MixedPool2d(WeightedPool2d):
    r"""Pooling with several weights at once, :math:`w = w_1 w_2 \dots`.

    The paper's mixtures are two configurations: "mixp", the weights of
    `LocalImportancePool2d` times those of `SelfAttentivePool2d`, and "dfmixp", those
    of `DeformableSelfAttentivePool2d` times a local weight with a p×p kernel.

    Args:
        in_channels (int): Channels of the input.
        stride (int): Distance between pooling windows in pixels. Default: 2.
        pools (Sequence[dict]): Configs of the pools, each of them a `WeightedPool2d`.
            They get `in_channels`, `stride`, `normalize`, `window` and `padding` from
            here. Default: (dict(type='LocalImportancePool2d'),
            dict(type='SelfAttentivePool2d')).
        normalize (bool): Divide by the window's mean weight. Default: True.
        window (int | None): Width and height of a pooling window in pixels. Default:
            `stride`.
        padding (int): Pixels by which windows reach over each border. Default: 0.

    Raises:
        ConfigError: `pools` is empty, or an entry is no config of such a pool, or
            has a `stride`, `normalize`, `window` or `padding` of its own.

    Source:
        "Self-Attentive Pooling for Efficient Deep Learning", WACV 2023, arXiv
        2209.07659.

    Example:
        >>> import torch
        >>> pool = MixedPool2d(16, stride=2, pools=[
        ...     dict(type='LocalImportancePool2d'), dict(type='SelfAttentivePool2d')])
        >>> pool(torch.rand(2, 16, 9, 8)).shape
        torch.Size([2, 16, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        stride: int = 2,
        pools: Sequence[dict] = (
            dict(type="LocalImportancePool2d"),
            dict(type="SelfAttentivePool2d"),
        ),
        normalize: bool = True,
        window: int | None = None,
        padding: int = 0,
    ):
        super().__init__(in_channels, stride, normalize, window, padding)
        if not isinstance(pools, (list, tuple)) or not pools:
            raise ConfigError(
                f"pools={pools!r}: a list of the configs of pools is accepted"
            )
        self.pools = nn.ModuleList(self._build(cfg) for cfg in pools)

    def _build(self, cfg: dict) -> WeightedPool2d:
        kind = pool_class(cfg)
        if not (isinstance(kind, type) and issubclass(kind, WeightedPool2d)):
            raise ConfigError(
                f"pools: type={cfg['type']!r} has no weights to multiply; a pool "
                "derived from WeightedPool2d is accepted"
            )
        given = dict(normalize=self.normalize, window=self.window, padding=self.padding)
        own = {"in_channels", "stride", *given} & set(cfg)
        if own:
            raise ConfigError(
                f"pools: {cfg['type']!r} has {', '.join(sorted(own))} of its own; "
                "those of MixedPool2d are the ones that count"
            )
        # A class of one's own may do without windows: its weights alone count.
        taken = {"normalize", *argument_names(kind)}
        cfg = {**cfg, **{k: v for k, v in given.items() if k in taken}}
        return build_pool(cfg, self.in_channels, self.stride)

    def compute_weight(self, x: Tensor) -> Tensor:
        """The product of the weights of `x` (B, C, H, W), on one grid."""
        return _combined(torch.mul, [pool.compute_weight(x) for pool in self.pools], x)

    def compute_log_weight(self, x: Tensor) -> Tensor | None:
        """Logarithms of the product, where those of a part are needed, else None."""
        logs = [pool.compute_log_weight(x) for pool in self.pools]
        if all(log is None for log in logs):
            return None
        logs = [
            _log(pool.compute_weight(x)) if log is None else log
            for pool, log in zip(self.pools, logs, strict=True)
        ]
        return _combined(torch.add, logs, x)


def _log(weight: Tensor) -> Tensor:
    """The logarithm; that of zero, too, has a gradient."""
    return weight.clamp(min=torch.finfo(weight.dtype).tiny).log()


def _combined(combine: Callable, maps: list[Tensor], x: Tensor) -> Tensor:
    """The maps in one, on their grid or, if they have several, on that of `x`."""
    if len({grid.shape[-2:] for grid in maps}) > 1:
        maps = [upsample_nearest(grid, x.shape[-2:]) for grid in maps]
    return reduce(combine, maps)
