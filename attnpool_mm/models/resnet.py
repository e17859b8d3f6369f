"""MMPretrain's ResNet with pools in the place of strided convolutions."""

from collections.abc import Sequence
from typing import Any

from mmpretrain.models.backbones.resnet import ResNet
from torch import nn

from ..layers.build import resolve_conv_cfg
from ..pooling import build_pool
from ..registry import MODELS
from ..utils.checks import check_choice, check_int, is_int
from ..utils.errors import ConfigError
from .attention import WITH_ATTENTION, attention_cfg_by_stage
from .stages import check_by_stage, check_out_indices, pool_cfg_by_stage, pool_stages


@MODELS.register_module()
class AttnPoolResNet(ResNet):
    """MMPretrain's ResNet whose stages may be halved by any pool.

    Without `pool_cfg`, `attention_cfg` and the stem's arguments it equals its parent,
    output for output. Weights of a plain ResNet load by name; a pool adds the keys
    `layer<i>.pool.*`, a stem pool `maxpool.*`, attention `layer<i>.<j>.attention.*`.

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        strides (Sequence[int]): Stride of each stage. Default: (1, 2, 2, 2).
        pool_cfg (dict | Sequence[dict | None] | None): Config of the pool that replaces
            the strided convolution of the stages with stride > 1, or a list with a
            config a stage; None means the strided convolution. Default: None.
        pool_position (str): 'stage_end' runs the whole stage at stride 1 and pools its
            output; 'first_block' pools after the first block. Default: 'stage_end'.
        stem_pool_cfg (dict | None): Config of the pool that replaces the stem's
            max-pool (stride 2 unless it says otherwise). Default: None.
        stem_stride (int): Stride of the stem's convolution, positive. Default: 2.
        num_stages (int): Stages of the network, 1 to 4. Default: 4.
        dilations (Sequence[int] | None): Dilation of each stage. Default: 1.
        out_indices (Sequence[int] | None): Stages whose outputs are returned. Default:
            the last.
        attention_cfg (dict | Sequence[dict | None] | None): Config of an attention
            layer, e.g. `dict(type='SPEM')`, in every residual block, after its last
            norm and before the sum; or a list with a config or None a stage. Default:
            None.
        conv_cfg (dict | None): Type of the convolutions, e.g.
            `dict(type='DynamicConv2d')`; a pool takes a `conv_cfg` of its own. Default:
            `nn.Conv2d`.
        **kwargs (Any): The parent's other arguments: `frozen_stages`, `norm_eval`,
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
        frozen = kwargs.get("frozen_stages", -1)  # −1: none, 0: the stem
        if not is_int(frozen) or frozen > num_stages:
            raise ConfigError(
                f"frozen_stages={frozen!r}: an integer up to {num_stages} is accepted"
            )
        strides = check_by_stage("strides", strides, num_stages)
        pools = pool_cfg_by_stage(pool_cfg, strides)
        check_choice("pool_position", pool_position, ("stage_end", "first_block"))
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
        pool_stages(self, self.res_layers, strides, pools, pool_position)
        for name, pool in zip(self.res_layers, pools, strict=True):
            first = getattr(self, name)[0]
            if (
                pool
                and pool_position == "stage_end"
                and (first.in_channels == first.out_channels)
            ):
                # The whole stage runs at stride 1, in which the shortcut is direct.
                first.downsample = None

    def make_res_layer(self, **kwargs: Any) -> nn.Sequential:
        """Build the next stage, with its attention if it has one."""
        attention_cfg = self.attention_cfg[len(self.res_layers)]
        if attention_cfg is not None:
            block = WITH_ATTENTION[kwargs["block"]]
            kwargs |= dict(block=block, attention_cfg=attention_cfg)
        return super().make_res_layer(**kwargs)

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
