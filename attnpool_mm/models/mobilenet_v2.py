"""MMPretrain's MobileNetV2 with pools in the place of strided convolutions."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from mmcv.cnn import ConvModule
from mmpretrain.models.backbones.mobilenet_v2 import MobileNetV2
from torch import nn

from ..layers.build import resolve_conv_cfg
from ..pooling import build_pool
from ..registry import MODELS
from ..utils.checks import check_choice, check_int
from .attention import attention_cfg_by_stage, build_attention
from .stages import check_by_stage, check_out_indices, pool_cfg_by_stage, pool_stages


@MODELS.register_module()
class AttnPoolMobileNetV2(MobileNetV2):
    """MMPretrain's MobileNetV2 whose stages may be halved by any pool.

    Without `pool_cfg`, `attention_cfg` and the stem's arguments it equals its parent,
    output for output. Weights of a plain MobileNetV2 load by name; a pool adds the keys
    `layer<i>.pool.*`, a stem pool `conv1.pool.*`, attention
    `layer<i>.<j>.conv.attention.*`.

    Args:
        strides (Sequence[int]): Stride of each of the seven stages. Default: (1, 2, 2,
            2, 1, 2, 1).
        pool_cfg (dict | Sequence[dict | None] | None): Config of the pool that replaces
            the strided convolution of the stages with stride > 1, or a list with a
            config a stage; None means the strided convolution. Default: None.
        pool_position (str): 'stage_start' pools the stage's input; 'first_block' pools
            after the first inverted residual. Default: 'stage_start'.
        stem_pool_cfg (dict | None): Config of a pool after the stem's convolution
            (stride 2 unless it says otherwise). Default: None.
        stem_stride (int): Stride of the stem's convolution, positive. Default: 2.
        out_indices (Sequence[int]): Stages whose outputs are returned, 7 for the last
            convolution. Default: (7,).
        attention_cfg (dict | Sequence[dict | None] | None): Config of an attention
            layer, e.g. `dict(type='SPEM')`, after the last norm of every inverted
            residual, and before the sum in those that have a shortcut; or a list with a
            config or None a stage. Default: None.
        conv_cfg (dict | None): Type of the convolutions, e.g.
            `dict(type='DynamicConv2d')`; a pool takes a `conv_cfg` of its own. Default:
            `nn.Conv2d`.
        in_channels (int): Channels of the image, 1 for a grey one. Default: 3.
        **kwargs (Any): The parent's other arguments: `widen_factor`, `frozen_stages`,
            `norm_eval`, `with_cp`, `init_cfg`, ….

    Attributes:
        out_channels: Channels of each output.
        out_strides: How many times smaller than the image each output is.

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
        attention_cfg: dict | Sequence[dict | None] | None = None,
        conv_cfg: dict | None = None,
        in_channels: int = 3,
        **kwargs: Any,
    ):
        self.strides = check_by_stage("strides", strides, len(self.arch_settings))
        pools = pool_cfg_by_stage(pool_cfg, self.strides)
        check_choice("pool_position", pool_position, ("stage_start", "first_block"))
        check_int("stem_stride", stem_stride)
        check_int("in_channels", in_channels)
        self.attention_cfg = attention_cfg_by_stage(attention_cfg, len(self.strides))
        # The parent reads the strides off its table of stages.
        self.arch_settings = [
            [*setting[:3], stride]
            for setting, stride in zip(self.arch_settings, self.strides, strict=True)
        ]
        # The last convolution counts as an eighth stage.
        super().__init__(
            out_indices=check_out_indices(out_indices, len(self.strides) + 1),
            conv_cfg=resolve_conv_cfg(conv_cfg),
            **kwargs,
        )
        if in_channels != 3:  # the parent's
            self.conv1 = ConvModule(
                in_channels,
                self.conv1.out_channels,
                3,
                padding=1,
                conv_cfg=self.conv_cfg,
                norm_cfg=self.norm_cfg,
                act_cfg=self.act_cfg,
            )
        self.conv1.conv.stride = (stem_stride, stem_stride)
        if stem_pool_cfg is not None:
            pool = build_pool(stem_pool_cfg, self.conv1.out_channels, stride=2)
            self.conv1 = nn.Sequential(
                OrderedDict([*self.conv1.named_children(), ("pool", pool)])
            )
            self._freeze_stages()
        pool_stages(self, self.layers[:-1], self.strides, pools, pool_position)

    def make_layer(
        self, out_channels: int, num_blocks: int, stride: int, expand_ratio: int
    ) -> nn.Sequential:
        """Build the next stage, with its attention if it has one."""
        attention_cfg = self.attention_cfg[len(self.layers)]
        # The parent's block takes a stride of 1 or 2.
        blocks = super().make_layer(
            out_channels, num_blocks, min(stride, 2), expand_ratio
        )
        if stride > 2:
            blocks[0].conv[-2].conv.stride = (stride, stride)
        if attention_cfg is not None:
            for block in blocks:
                attention = build_attention(attention_cfg, out_channels)
                block.conv.add_module("attention", attention)
        return blocks
