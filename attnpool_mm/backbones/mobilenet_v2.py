"""MobileNetV2 with pools in the place of strided convolutions."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from mmpretrain.models.backbones.mobilenet_v2 import MobileNetV2
from torch import nn

from ..checks import check_choice, check_int
from ..pooling import build_pool
from ..registry import MODELS
from .stage import PooledStage, check_by_stage, check_out_indices, pool_cfg_by_stage


@MODELS.register_module()
class AttnPoolMobileNetV2(MobileNetV2):
    """MMPretrain's MobileNetV2 whose stages may be halved by any pool.

    Without `pool_cfg` and the stem's arguments it equals its parent, output for
    output. Weights of a plain MobileNetV2 load by name; a pool adds the keys
    `layer<i>.pool.*`, a stem pool `conv1.pool.*`.

    Args:
        strides: Stride of each of the seven stages.
        pool_cfg: Config of the pool that replaces the strided convolution of the
            stages with stride > 1, or a list with a config a stage; None means
            the strided convolution.
        pool_position: 'stage_start' pools the stage's input; 'first_block' pools
            after the first inverted residual.
        stem_pool_cfg: Config of a pool after the stem's convolution (stride 2
            unless it says otherwise).
        stem_stride: Stride of the stem's convolution, 2 or 1.
        out_indices: Stages whose outputs are returned, 7 for the last convolution.
        **kwargs: The parent's other arguments: `widen_factor`, `frozen_stages`,
            `norm_eval`, `with_cp`, `init_cfg`, ….

    Raises:
        ConfigError: An argument is not one of the accepted values.

    Source:
        "Self-Attentive Pooling for Efficient Deep Learning", WACV 2023, arXiv
        2209.07659.

    Example:
        >>> import torch
        >>> backbone = AttnPoolMobileNetV2(
        ...     pool_cfg=dict(type='LocalImportancePool2d'), out_indices=(4, 7))
        >>> for out in backbone(torch.rand(2, 3, 64, 64)):
        ...     print(tuple(out.shape))
        (2, 96, 4, 4)
        (2, 1280, 2, 2)
    """

    def __init__(
        self,
        strides: Sequence[int] = (1, 2, 2, 2, 1, 2, 1),
        pool_cfg: dict | Sequence[dict | None] | None = None,
        pool_position: str = "stage_start",
        stem_pool_cfg: dict | None = None,
        stem_stride: int = 2,
        out_indices: Sequence[int] = (7,),
        **kwargs: Any,
    ):
        self.strides = check_by_stage("strides", strides, len(self.arch_settings))
        self.pool_cfg = pool_cfg_by_stage(pool_cfg, self.strides)
        self.pool_position = check_choice(
            "pool_position", pool_position, ("stage_start", "first_block")
        )
        check_int("stem_stride", stem_stride)
        # The parent reads the strides off its table of stages.
        self.arch_settings = [
            [*setting[:3], stride]
            for setting, stride in zip(self.arch_settings, self.strides, strict=True)
        ]
        # The last convolution counts as an eighth stage.
        num_outputs = len(self.arch_settings) + 1
        super().__init__(
            out_indices=check_out_indices(out_indices, num_outputs), **kwargs
        )
        self.conv1.conv.stride = (stem_stride, stem_stride)
        if stem_pool_cfg is not None:
            stem_channels = self.conv1.out_channels
            pool = build_pool(stem_pool_cfg, stem_channels, stride=2)
            self.conv1 = nn.Sequential(
                OrderedDict([*self.conv1.named_children(), ("pool", pool)])
            )
            self._freeze_stages()

    def make_layer(
        self, out_channels: int, num_blocks: int, stride: int, expand_ratio: int
    ) -> nn.Sequential:
        """Build the next stage, with its pool if it has one."""
        pool_cfg = self.pool_cfg[len(self.layers)]
        in_channels = self.in_channels
        # The parent's block takes a stride of 1 or 2.
        conv_stride = 1 if pool_cfg is not None else min(stride, 2)
        blocks = super().make_layer(out_channels, num_blocks, conv_stride, expand_ratio)
        if pool_cfg is not None:
            at_start = self.pool_position == "stage_start"
            pool = build_pool(
                pool_cfg, in_channels if at_start else out_channels, stride
            )
            return PooledStage(blocks, pool, self.pool_position)
        if stride > conv_stride:
            depthwise = blocks[0].conv[-2].conv
            depthwise.stride = (stride, stride)
        return blocks
