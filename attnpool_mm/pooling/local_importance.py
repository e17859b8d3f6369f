"""Local importance-based pooling (LIP)."""

import torch
from torch import Tensor, nn

from ..checks import check_choice, check_odd
from ..registry import MODELS
from .weighted import WeightedPool2d, init_convs, subtract_window_max


@MODELS.register_module()
class LocalImportancePool2d(WeightedPool2d):
    """Pooling whose weights come from a convolution.

    Two forms: "sap", the one that Self-Attentive Pooling compares with,
    w = exp(sigmoid(BN(Conv(x)))), and "original", that of LIP's own paper,
    w = exp(12 · sigmoid(InstanceNorm(Conv(x)))). The original's weights reach
    e¹²; the window's largest logit is subtracted, so that float16 holds them.

    Args:
        in_channels: Channels C of the input.
        stride: Width and height of a pooling window in pixels.
        form: "sap" or "original".
        kernel_size: Of the convolution C → C, odd. Default: 1 for "sap", 3 for
            "original".

    Raises:
        ConfigError: An argument is not one of the accepted values.

    Source:
        "LIP: Local Importance-based Pooling", ICCV 2019, arXiv 1908.04156; the other
        form from "Self-Attentive Pooling", WACV 2023, arXiv 2209.07659.

    Example:
        >>> LocalImportancePool2d(16, stride=2)(torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 16, 4, 4])
    """

    max_logit = 12.0

    def __init__(
        self,
        in_channels: int,
        stride: int = 2,
        form: str = "sap",
        kernel_size: int | None = None,
    ):
        super().__init__(in_channels, stride)
        self.form = check_choice("form", form, ("sap", "original"))
        original = form == "original"
        if kernel_size is None:
            kernel_size = 3 if original else 1
        check_odd("kernel_size", kernel_size)
        self.conv = nn.Conv2d(
            in_channels, in_channels, kernel_size, padding=kernel_size // 2
        )
        self.norm = (
            nn.InstanceNorm2d(in_channels, affine=True)
            if original
            else nn.BatchNorm2d(in_channels)
        )
        init_convs(self)

    def compute_weight(self, x: Tensor) -> Tensor:
        """The weights of `x` (B, C, H, W), of the same shape."""
        logit = self.conv(x)
        if self.form == "sap":
            return self.norm(logit).sigmoid().exp()
        # As a group norm of one channel a group, which takes a 1×1 map too.
        norm = self.norm
        logit = torch.group_norm(
            logit, self.in_channels, norm.weight, norm.bias, norm.eps
        )
        return subtract_window_max(self.max_logit * logit.sigmoid(), self.stride).exp()

    def extra_repr(self) -> str:
        """The arguments that no submodule shows."""
        return f"{super().extra_repr()}, form={self.form!r}"
