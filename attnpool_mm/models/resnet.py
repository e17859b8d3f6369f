"""ResNet with pools in the place of strided convolutions."""

import re
from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Any

from mmcv.cnn import build_conv_layer, build_norm_layer
from mmpretrain.models.backbones.resnet import ResNet
from torch import nn

from ..utils.checks import check_choice, check_int
from ..layers.build import resolve_conv_cfg
from ..pooling import build_pool
from ..registry import MODELS
from .attention import WITH_ATTENTION, attention_cfg_by_stage
from .stage import PooledStage, check_by_stage, check_out_indices, pool_cfg_by_stage


@MODELS.register_module()
class AttnPoolResNet(ResNet):
    """MMPretrain's ResNet whose stages may be halved by any pool.

    Without `pool_cfg`, `attention_cfg` and the stem's arguments it equals its parent,
    output for output. Weights of a plain ResNet load by name; a pool adds the keys
    `layer<i>.pool.*`, a stem pool `maxpool.*`, attention `layer<i>.<j>.attention.*`.

    Args:
        depth: 18, 34, 50, 101 or 152.
        strides: Stride of each stage.
        pool_cfg: Config of the pool that replaces the strided convolution of the
            stages with stride > 1, or a list with a config a stage; None means
            the strided convolution.
        pool_position: 'stage_end' runs the whole stage at stride 1 and pools its
            output; 'first_block' pools after the first block.
        stem_pool_cfg: Config of the pool that replaces the stem's max-pool (stride
            2 unless it says otherwise).
        stem_stride: Stride of the stem's convolution, 2 or 1.
        num_stages: Stages of the network, 1 to 4.
        dilations: Dilation of each stage. Default: 1.
        out_indices: Stages whose outputs are returned. Default: the last.
        attention_cfg: Config of an attention layer, e.g. `dict(type='SPEM')`, in
            every residual block, after its last norm and before the sum; or a list
            with a config or None a stage.
        conv_cfg: Type of the convolutions, e.g. `dict(type='DynamicConv2d')`; a pool
            takes a `conv_cfg` of its own. Default: `nn.Conv2d`.
        **kwargs: The parent's other arguments: `frozen_stages`, `norm_eval`,
            `with_cp`, `init_cfg`, ….

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
        >>> backbone = AttnPoolResNet(
        ...     18, pool_cfg=dict(type='SelfAttentivePool2d'), out_indices=(0, 1, 2, 3))
        >>> for out in backbone(torch.rand(2, 3, 64, 64)):
        ...     print(tuple(out.shape))
        (2, 64, 16, 16)
        (2, 128, 8, 8)
        (2, 256, 4, 4)
        (2, 512, 2, 2)
    """

    def __init__(
        self,
        depth: int,
        strides: Sequence[int] = (1, 2, 2, 2),
        pool_cfg: dict | Sequence[dict | None] | None = None,
        pool_position: str = "stage_end",
        stem_pool_cfg: dict | None = None,
        stem_stride: int = 2,
        num_stages: int = 4,
        dilations: Sequence[int] | None = None,
        out_indices: Sequence[int] | None = None,
        attention_cfg: dict | Sequence[dict | None] | None = None,
        conv_cfg: dict | None = None,
        **kwargs: Any,
    ):
        check_choice("depth", depth, tuple(self.arch_settings))
        check_choice("num_stages", num_stages, (1, 2, 3, 4))
        strides = check_by_stage("strides", strides, num_stages)
        self.pool_cfg = pool_cfg_by_stage(pool_cfg, strides)
        self.pool_position = check_choice(
            "pool_position", pool_position, ("stage_end", "first_block")
        )
        self.stem_pool_cfg = stem_pool_cfg
        self.stem_stride = check_int("stem_stride", stem_stride)
        self.attention_cfg = attention_cfg_by_stage(attention_cfg, num_stages)
        if dilations is None:
            dilations = (1,) * num_stages
        if out_indices is None:
            out_indices = (num_stages - 1,)
        super().__init__(
            depth,
            strides=strides,
            num_stages=num_stages,
            dilations=check_by_stage("dilations", dilations, num_stages),
            out_indices=check_out_indices(out_indices, num_stages),
            conv_cfg=resolve_conv_cfg(conv_cfg),
            **kwargs,
        )
        first = self.base_channels * self.expansion
        self.out_channels = tuple(first * 2**i for i in sorted(self.out_indices))
        pool_stride = getattr(self.maxpool, "stride", 1)  # the CIFAR stem has no pool
        if stem_pool_cfg is not None:
            pool_stride = stem_pool_cfg.get("stride", 2)
        _, *by_stage = accumulate(strides, mul, initial=self.stem_stride * pool_stride)
        self.out_strides = tuple(by_stage[i] for i in sorted(self.out_indices))

    def make_res_layer(self, **kwargs: Any) -> nn.Sequential:
        """Build the next stage, with its attention and its pool if it has them."""
        stage = len(self.res_layers)
        attention_cfg = self.attention_cfg[stage]
        if attention_cfg is not None:
            block = WITH_ATTENTION[kwargs["block"]]
            kwargs |= dict(block=block, attention_cfg=attention_cfg)
        pool_cfg = self.pool_cfg[stage]
        if pool_cfg is None:
            return super().make_res_layer(**kwargs)
        stride = kwargs.pop("stride")
        blocks = super().make_res_layer(stride=1, **kwargs)
        in_channels, out_channels = kwargs["in_channels"], kwargs["out_channels"]
        if self.avg_down and blocks[0].downsample is not None:
            # In the place of the average pooling, so that the names stay.
            blocks[0].downsample.insert(0, nn.Identity())
        if self.pool_position == "first_block" and in_channels == out_channels:
            # A strided stage projects its shortcut even where the channels stay;
            # the authors keep that projection, and so does a strided checkpoint.
            blocks[0].downsample = nn.Sequential(
                build_conv_layer(
                    kwargs["conv_cfg"], in_channels, out_channels, 1, bias=False
                ),
                build_norm_layer(kwargs["norm_cfg"], out_channels)[1],
            )
        pool = build_pool(pool_cfg, out_channels, stride)
        if not hasattr(pool, "out_channels"):  # the parent reads it off the last layer
            pool.out_channels = out_channels
        return PooledStage(blocks, pool, self.pool_position)

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        conv = self.stem[0].conv if self.deep_stem else self.conv1
        conv.stride = (self.stem_stride, self.stem_stride)
        if self.stem_pool_cfg is not None:
            self.maxpool = build_pool(self.stem_pool_cfg, stem_channels, stride=2)

    def _freeze_stages(self) -> None:
        super()._freeze_stages()
        if self.frozen_stages >= 0:
            self.maxpool.eval().requires_grad_(False)

    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """The depth of a parameter, for layer-wise learning rates.

        A pool counts as its stage's last block at 'stage_end', else as its first.
        """
        match = re.search(r"\.layer(\d)\.pool\.", param_name)
        if match:
            stage = int(match[1])
            last = self.stage_blocks[stage - 1] - 1
            block = last if self.pool_position == "stage_end" else 0
            param_name = f"{prefix}layer{stage}.{block}.pool"
        return super().get_layer_depth(param_name, prefix)
