"""MMPretrain's MobileNetV3 with strides, and pools in the place of convolutions."""

from collections.abc import Sequence
from typing import Any

from mmpretrain.models.backbones.mobilenet_v3 import MobileNetV3

from ..layers.build import resolve_conv_cfg
from ..registry import MODELS
from ..utils.checks import check_choice
from .stages import check_by_stage, check_out_indices, pool_cfg_by_stage, pool_stages


@MODELS.register_module()
class AttnPoolMobileNetV3(MobileNetV3):
    """MMPretrain's MobileNetV3 whose blocks may be halved by any pool.

    Every inverted residual counts as a stage; a pool follows the block. Without
    `strides` and `pool_cfg` it equals its parent, output for output. Weights of a plain
    MobileNetV3 load by name; a pool adds the keys `layer<i>.pool.*`.

    Args:
        arch (str): 'small', 'small_075', 'small_050' (11 blocks) or 'large' (15).
            Default: 'small'.
        strides (Sequence[int] | None): Stride of each block. Default: those of the
            published network.
        pool_cfg (dict | Sequence[dict | None] | None): Config of the pool that replaces
            the strided convolution of the blocks with stride > 1, or a list with a
            config a block; None means the strided convolution. Default: None.
        out_indices (Sequence[int] | None): Blocks whose outputs are returned: 0 for the
            stem, 1 for the first block, one past the last block for the last
            convolution. Default: that.
        conv_cfg (dict | None): Type of the convolutions, e.g.
            `dict(type='DynamicConv2d')`; a pool takes a `conv_cfg` of its own. Default:
            `nn.Conv2d`.
        **kwargs (Any): The parent's other arguments.

    Attributes:
        out_channels: Channels of each output.
        out_strides: How many times smaller than the image each output is.

    Raises:
        ConfigError: An argument is not one of the accepted values.

    Source:
        "Searching for MobileNetV3", ICCV 2019, arXiv 1905.02244; the placement is that
        of the code of "Self-Attentive Pooling", WACV 2023, arXiv 2209.07659.

    Example:
        >>> import torch
        >>> backbone = AttnPoolMobileNetV3(pool_cfg=dict(type='LocalImportancePool2d'))
        >>> backbone(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 576, 2, 2])
    """

    def __init__(
        self,
        arch: str = "small",
        strides: Sequence[int] | None = None,
        pool_cfg: dict | Sequence[dict | None] | None = None,
        out_indices: Sequence[int] | None = None,
        conv_cfg: dict | None = None,
        **kwargs: Any,
    ):
        check_choice("arch", arch, tuple(self.arch_settings))
        blocks = self.arch_settings[arch]
        if strides is None:
            strides = tuple(block[-1] for block in blocks)
        strides = check_by_stage("strides", strides, len(blocks))
        pools = pool_cfg_by_stage(pool_cfg, strides)
        if out_indices is None:
            out_indices = (len(blocks) + 1,)
        # The parent reads the strides off its table; its block takes 1 or 2.
        self.arch_settings = {
            arch: [
                [*block[:-1], min(stride, 2)]
                for block, stride in zip(blocks, strides, strict=True)
            ]
        }
        super().__init__(
            arch=arch,
            out_indices=check_out_indices(out_indices, len(blocks) + 2),
            conv_cfg=resolve_conv_cfg(conv_cfg),
            **kwargs,
        )
        names = self.layers[1:-1]
        for name, stride in zip(names, strides, strict=True):
            if stride > 2:
                getattr(self, name).depthwise_conv.conv.stride = (stride, stride)
        pool_stages(self, names, strides, pools, "block_end")
