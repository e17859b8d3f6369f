"""LIP's networks: local importance pooling wherever ResNet and DenseNet shrink maps."""

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_conv_layer
from mmpretrain.models.backbones.densenet import DenseNet
from mmpretrain.models.backbones.resnet import Bottleneck
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..pooling import LocalImportancePool2d
from ..pooling.local_importance import hidden_layers
from ..registry import MODELS
from ..utils.checks import check_choice, check_int
from .pooled import pool_downsampling
from .resnet import AttnPoolResNet

LIP = dict(type="LocalImportancePool2d", form="original")


class LIPBottleneck(Bottleneck):
    """ResNet's bottleneck block, which shrinks its map by two pools.

    They stand where the strides were: in the main path between the first convolution
    and the second, which becomes a 1×1 one, and before the shortcut's convolution. The
    hidden layers of their logits are one, on the block's input. A block of stride 1 is
    as it was.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        stride (int): Stride of the block. Default: 1.
        downsample (nn.Sequential | None): The shortcut's convolution, with the stride,
            and norm. Default: None.
        hidden_channels (int): Width of the hidden layers. Default: 128.
        **kwargs (Any): The parent's other arguments.

    Raises:
        ConfigError: `style` is not 'pytorch', or the shortcut has an average pool.

    Example:
        >>> import torch
        >>> shortcut = nn.Sequential(nn.Conv2d(8, 16, 1, 2), nn.BatchNorm2d(16))
        >>> block = LIPBottleneck(8, 16, stride=2, downsample=shortcut)
        >>> block(torch.rand(1, 8, 9, 9)).shape
        torch.Size([1, 16, 5, 5])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        downsample: nn.Sequential | None = None,
        hidden_channels: int = 128,
        **kwargs: Any,
    ):
        super().__init__(
            in_channels, out_channels, stride=stride, downsample=downsample, **kwargs
        )
        if stride == 1:
            return
        check_choice("style", self.style, ("pytorch",))
        check_choice("avg_down", isinstance(downsample[0], nn.AvgPool2d), (False,))
        downsample[0].stride = (1, 1)
        width = self.mid_channels
        self.conv2 = build_conv_layer(self.conv_cfg, width, width, 1, bias=False)
        self.hidden = hidden_layers(in_channels, hidden_channels)
        self.pool, self.shortcut_pool = (
            LocalImportancePool2d(
                channels,
                stride,
                form="original",
                kernel_size=1,
                source_channels=hidden_channels,
            )
            for channels in (width, in_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, ⌈H/stride⌉, ⌈W/stride⌉)."""
        if self.stride == 1:
            return super().forward(x)
        if self.with_cp and x.requires_grad:
            return self.relu(checkpoint(self._sum, x, use_reentrant=False))
        return self.relu(self._sum(x))

    def _sum(self, x: Tensor) -> Tensor:
        hidden = self.hidden(x)
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.pool(out, hidden)
        out = self.relu(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        return self.drop_path(out) + self.downsample(self.shortcut_pool(x, hidden))


@MODELS.register_module()
class LIPResNet(AttnPoolResNet):
    """LIP-ResNet: local importance pooling for the stem's max-pool and every stride.

    Weights of a plain ResNet load by name but for the `conv2` of the first block of
    each stage with a stride, which is 1×1 here.

    Args:
        depth (int): 50, 101 or 152.
        strides (Sequence[int]): Stride of each stage. Default: (1, 2, 2, 2).
        hidden_channels (int): Width of the hidden layers of the blocks' logits.
            Default: 128.
        num_stages (int): Stages of the network, 1 to 4. Default: 4.
        dilations (Sequence[int] | None): Dilation of each stage. Default: 1.
        out_indices (Sequence[int] | None): Stages whose outputs are returned. Default:
            the last.
        conv_cfg (dict | None): Type of the convolutions but those in pools. Default:
            `nn.Conv2d`.
        **kwargs (Any): The other arguments of MMPretrain's ResNet: `frozen_stages`,
            `norm_eval`, `with_cp`, `init_cfg`, …; `style` and `avg_down` stay as they
            are there by default.

    Attributes:
        out_channels: Channels of each output.
        out_strides: How many times smaller than the image each output is.

    Raises:
        ConfigError: An argument is not one of the accepted values.

    Source:
        "LIP: Local Importance-based Pooling", ICCV 2019, arXiv 1908.04156.

    Example:
        >>> import torch
        >>> backbone = LIPResNet(50, out_indices=(0, 1, 2, 3))
        >>> for out in backbone(torch.rand(1, 3, 64, 64)):
        ...     print(tuple(out.shape))
        (1, 256, 16, 16)
        (1, 512, 8, 8)
        (1, 1024, 4, 4)
        (1, 2048, 2, 2)
    """

    arch_settings = {
        depth: (LIPBottleneck, blocks)
        for depth, (block, blocks) in AttnPoolResNet.arch_settings.items()
        if block is Bottleneck
    }

    def __init__(
        self,
        depth: int,
        strides: Sequence[int] = (1, 2, 2, 2),
        hidden_channels: int = 128,
        num_stages: int = 4,
        dilations: Sequence[int] | None = None,
        out_indices: Sequence[int] | None = None,
        conv_cfg: dict | None = None,
        **kwargs: Any,
    ):
        for name in ("pool_cfg", "stem_pool_cfg", "attention_cfg"):
            check_choice(name, kwargs.get(name), (None,))
        self.hidden_channels = check_int("hidden_channels", hidden_channels)
        super().__init__(
            depth,
            strides,
            num_stages=num_stages,
            dilations=dilations,
            out_indices=out_indices,
            conv_cfg=conv_cfg,
            **kwargs | dict(stem_pool_cfg=LIP),
        )

    def make_res_layer(self, **kwargs: Any) -> nn.Sequential:
        """Build the next stage."""
        return super().make_res_layer(hidden_channels=self.hidden_channels, **kwargs)


@MODELS.register_module()
class LIPDenseNet(DenseNet):
    """LIP-DenseNet: local importance pooling in the stem and in the transitions.

    It is MMPretrain's DenseNet after `pool_downsampling`. The stem's windows are 3×3 as
    its max-pool's were, those of the transitions 2×2. Weights of a plain DenseNet load
    by name.

    Args:
        depth (int): 121, 161, 169 or 201. Default: 121.
        hidden_channels (int): Width of the hidden layers of the transitions' logits.
            Default: 128.
        **kwargs (Any): The other arguments of MMPretrain's DenseNet.

    Attributes:
        out_channels: Channels of each output.
        out_strides: How many times smaller than the image each output is.

    Raises:
        ConfigError: `depth` or `hidden_channels` is not one of the accepted values.

    Source:
        "LIP: Local Importance-based Pooling", ICCV 2019, arXiv 1908.04156.

    Example:
        >>> backbone = LIPDenseNet(121, out_indices=(0, 1, 2, 3))
        >>> backbone.out_channels, backbone.out_strides
        ((128, 256, 512, 1024), (8, 16, 32, 32))
    """

    def __init__(self, depth: int = 121, hidden_channels: int = 128, **kwargs: Any):
        check_choice("depth", str(depth), tuple(DenseNet.arch_settings))
        check_int("hidden_channels", hidden_channels)
        super().__init__(str(depth), **kwargs)
        transition = dict(LIP, hidden_channels=hidden_channels, window=2)
        pools = [LIP, *[transition] * (self.num_stages - 1)]
        pool_downsampling(self, pools, stages=["stem.3", "transitions"])
