"""Gaussian pooling."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.saturation import SaturatedSequential
from ..registry import MODELS
from ..utils.checks import check_int
from ..utils.errors import ConfigError
from .weighted import full_precision, init_convs, pooling_window, upsample_nearest


@MODELS.register_module()
class GaussianPool2d(nn.Module):
    r"""Pooling that moves a window's mean by a learned number of its deviations.

    A window has the mean :math:`\mu_0` and the standard deviation :math:`\sigma_0`.
    The whole map gives every channel a :math:`\mu` and a :math:`\sigma`:

    .. math::
        z &= ReLU(BN(Conv_{1×1}(GAP(x)))) \\
        \mu &= BN(Conv_{1×1}(z)), \quad \sigma = sigmoid(BN(Conv_{1×1}(z))) \\
        y &= \mu_0 + softplus(\mu + \sigma \epsilon) \sigma_0

    In training :math:`\epsilon` is drawn from N(0, 1) for each output element; in
    evaluation it is 0. Windows are `stride` wide, as in `weighted_pool2d`.

    Args:
        in_channels (int): Channels C of the input.
        stride (int): Width and height of a pooling window in pixels. Default: 2.

    Raises:
        ConfigError: An argument is not a positive integer; in training, if the norms
            get one image alone, which has no variance after global pooling.

    Source:
        "Global Feature Guided Local Pooling", ICCV 2019, whose Gaussian variant
        "Self-Attentive Pooling", WACV 2023, arXiv 2209.07659, compares with.

    Example:
        >>> GaussianPool2d(16, stride=2)(torch.rand(2, 16, 9, 8)).shape
        torch.Size([2, 16, 4, 4])
    """

    min_variance = 1e-6

    def __init__(self, in_channels: int, stride: int = 2):
        super().__init__()
        self.in_channels = check_int("in_channels", in_channels)
        self.out_channels = in_channels
        self.stride = check_int("stride", stride)
        hidden = max(1, in_channels // 2)
        self.hidden = _conv_norm(in_channels, hidden)
        self.hidden.relu = nn.ReLU(inplace=True)
        self.mean = _conv_norm(hidden, in_channels)
        self.deviation = _conv_norm(hidden, in_channels)
        init_convs(self)

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B, C, H, W) to (B, C, max(1, H//stride), max(1, W//stride))."""
        self._check_batch(x)
        mean, variance = _window_statistics(full_precision(x), self.stride)
        z = self.hidden(F.adaptive_avg_pool2d(x, 1))
        shift = full_precision(self.mean(z))
        if self.training:
            deviation = full_precision(self.deviation(z)).sigmoid()
            # In one order, whatever the memory format.
            noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device)
            shift = shift + deviation * noise
        y = mean + F.softplus(shift) * variance.clamp(min=self.min_variance).sqrt()
        return y.to(x.dtype)

    def _check_batch(self, x: Tensor) -> None:
        norm = self.hidden.norm
        if x.shape[0] == 1 and norm.training and isinstance(norm, nn.BatchNorm2d):
            raise ConfigError(
                "GaussianPool2d on a batch of 1 in training: after global pooling "
                "BatchNorm gets one value a channel, which has no variance; batches "
                "of at least 2 images are accepted (or norm_eval=True, SyncBN on "
                "several GPUs, and drop_last=True for a last batch of 1)"
            )

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.in_channels}, stride={self.stride}"


def _conv_norm(in_channels: int, out_channels: int) -> SaturatedSequential:
    conv = nn.Conv2d(in_channels, out_channels, 1)
    return SaturatedSequential(
        OrderedDict(conv=conv, norm=nn.BatchNorm2d(out_channels))
    )


def _window_statistics(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of every window of `x`."""
    window = pooling_window(x.shape[-2:], stride)
    mean = F.avg_pool2d(x, window)
    height, width = (n * side for n, side in zip(mean.shape[-2:], window, strict=True))
    deviation = x[..., :height, :width] - upsample_nearest(mean, (height, width))
    return mean, F.avg_pool2d(deviation.square(), window)
