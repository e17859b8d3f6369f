"""The ResNet of the CIFAR experiments: a 3×3 stem and three stages."""

import re
from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_conv_layer
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from torch import nn

from ..registry import MODELS
from ..utils.checks import check_bool, check_choice, check_int, is_int
from ..utils.errors import ConfigError
from .resnet import AttnPoolResNet

BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}
CONVS_PER_BLOCK = {"basic": 2, "bottleneck": 3}
NUM_STAGES = 3


@MODELS.register_module()
class AttnPoolResNetCIFAR(AttnPoolResNet):
    """The ResNet for small images, with any pool and attention.

    A 3×3 convolution of stride 1, and three stages of as many blocks each, of 16, 32
    and 64 channels (bottlenecks: 64, 128 and 256). The names of its weights are
    those of `AttnPoolResNet`.

    Args:
        depth (int): 6n + 2 with basic blocks, 9n + 2 with bottlenecks, for n blocks a
            stage.
        block (str): 'bottleneck' or 'basic'. Default: 'bottleneck'.
        strides (Sequence[int]): Stride of each stage. Default: (1, 2, 2).
        stem_stride (int): Stride of the stem's convolution. Default: 1.
        stem_channels (int): Channels of the stem. Default: 16.
        base_channels (int): Channels of the first stage's 3×3 convolutions; each next
            stage has twice as many. Default: 16.
        zero_init_residual (bool): Start each block's last norm at zero. Default: False.
        **kwargs (Any): Other arguments of `AttnPoolResNet`: `pool_cfg`,
            `pool_position`, `stem_pool_cfg` (a pool after the stem), `attention_cfg`,
            `conv_cfg`, `out_indices` (default: the last stage), `in_channels`,
            `frozen_stages`, `norm_eval`, `with_cp`, `drop_path_rate`, `init_cfg`, ….

    Attributes:
        out_channels: Channels of each output.
        out_strides: How many times smaller than the image each output is.

    Raises:
        ConfigError: An argument is not one of the accepted values.

    Source:
        "Deep Residual Learning for Image Recognition", CVPR 2016; with bottlenecks
        in "SPEM", MMM 2023, arXiv 2208.10322.

    Example:
        >>> import torch
        >>> backbone = AttnPoolResNetCIFAR(
        ...     20, block='basic', attention_cfg=dict(type='SELayer'),
        ...     out_indices=(0, 1, 2))
        >>> for out in backbone(torch.rand(2, 3, 32, 32)):
        ...     print(tuple(out.shape))
        (2, 16, 32, 32)
        (2, 32, 16, 16)
        (2, 64, 8, 8)
    """

    def __init__(
        self,
        depth: int,
        block: str = "bottleneck",
        strides: Sequence[int] = (1, 2, 2),
        stem_stride: int = 1,
        stem_channels: int = 16,
        base_channels: int = 16,
        zero_init_residual: bool = False,
        **kwargs: Any,
    ):
        check_choice("block", block, tuple(BLOCKS))
        check_bool("zero_init_residual", zero_init_residual)
        check_int("stem_channels", stem_channels)
        check_int("base_channels", base_channels)
        num_blocks = blocks_per_stage(depth, block)
        # The parent reads the blocks off its table of depths.
        self.arch_settings = {depth: (BLOCKS[block], (num_blocks,) * NUM_STAGES)}
        super().__init__(
            depth,
            strides=strides,
            stem_stride=stem_stride,
            stem_channels=stem_channels,
            base_channels=base_channels,
            zero_init_residual=zero_init_residual,
            num_stages=NUM_STAGES,
            deep_stem=False,
            **kwargs,
        )

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        self.conv1 = build_conv_layer(
            self.conv_cfg,
            in_channels,
            stem_channels,
            3,
            stride=self.stem_stride,
            padding=1,
            bias=False,
        )
        if self.stem_pool_cfg is None:
            self.maxpool = nn.Identity()

    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """The depth of a parameter, for layer-wise learning rates.

        The stem has depth 0, then every block is one deeper than the one before it,
        and the head comes last. A pool counts as the block beside it.

        Args:
            param_name (str): Name of the parameter in the whole model.
            prefix (str): What stands before the backbone's own names, e.g. 'backbone.'.
                Default: ''.

        Returns:
            The depth, and the number of depths.
        """
        num_depths = sum(self.stage_blocks) + 2
        if not param_name.startswith(prefix):
            return num_depths - 1, num_depths
        match = re.match(r"layer(\d)\.(\w+)\.", param_name.removeprefix(prefix))
        if match is None:
            return 0, num_depths
        stage, block = int(match[1]) - 1, match[2]
        return 1 + sum(self.stage_blocks[:stage]) + int(block), num_depths


def blocks_per_stage(depth: int, block: str) -> int:
    """The blocks of each stage of a CIFAR ResNet.

    Raises:
        ConfigError: There is no such network of that depth.

    Example:
        >>> blocks_per_stage(164, 'bottleneck')
        18
    """
    step = NUM_STAGES * CONVS_PER_BLOCK[block]
    if not is_int(depth) or depth < step + 2 or (depth - 2) % step:
        nearest = ""
        if is_int(depth):
            below = max(1, (depth - 2) // step) * step + 2
            nearest = f"; the nearest are {below} and {below + step}"
        raise ConfigError(
            f"depth={depth!r}: {step}n + 2 is accepted with block={block!r}{nearest}"
        )
    return (depth - 2) // step
