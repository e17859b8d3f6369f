"""The CIFAR ResNet written out in torch.nn alone."""

import torch.nn.functional as F
from torch import nn


class _Block(nn.Module):
    def __init__(self, in_channels, channels, out_channels, stride):
        super().__init__()
        if out_channels == channels:  # basic
            sizes = [(in_channels, channels, 3), (channels, channels, 3)]
            strided = 0
        else:
            sizes = [(in_channels, channels, 1), (channels, channels, 3),
                     (channels, out_channels, 1)]  # fmt: skip
            strided = 1
        for i, (c_in, c_out, kernel) in enumerate(sizes):
            step = stride if i == strided else 1
            conv = nn.Conv2d(c_in, c_out, kernel, step, kernel // 2, bias=False)
            self.add_module(f"conv{i + 1}", conv)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(c_out))
        self.depth = len(sizes)
        self.downsample = None
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        for i in range(1, self.depth + 1):
            x = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x))
            x = F.relu(x + shortcut if i == self.depth else x)
        return x


class PlainResNetCIFAR(nn.Module):
    """Depth 6n+2 (basic) or 9n+2 (bottleneck), the outputs of all three stages."""

    def __init__(self, depth, block):
        super().__init__()
        per_block, expansion = {"basic": (2, 1), "bottleneck": (3, 4)}[block]
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        in_channels = 16
        for i, (channels, stride) in enumerate([(16, 1), (32, 2), (64, 2)]):
            out_channels = channels * expansion
            blocks = []
            for j in range((depth - 2) // (3 * per_block)):
                step = stride if j == 0 else 1
                blocks.append(_Block(in_channels, channels, out_channels, step))
                in_channels = out_channels
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        outs = []
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
            outs.append(x)
        return tuple(outs)
