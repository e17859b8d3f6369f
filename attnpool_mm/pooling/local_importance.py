"""Local importance-based pooling (LIP)."""

import torch
from torch import Tensor, nn

from ..layers.build import build_conv
from ..registry import MODELS
from ..utils.checks import check_choice, check_int
from .weighted import WeightedPool2d, full_precision, init_convs


@MODELS.register_module()
class LocalImportancePool2d(WeightedPool2d):
    """Pooling whose weights come from a convolution.

    Two forms: "sap", the one that Self-Attentive Pooling compares with,
    w = exp(sigmoid(BN(Conv(x)))), and "original", that of LIP's own paper,
    w = exp(12 · sigmoid(InstanceNorm(Conv(x)))). The original's weights reach e¹²,
    more than float16 holds: they are float32 in mixed precision.

    Args:
        in_channels: Channels C of the input.
        stride: Width and height of a pooling window in pixels.
        form: "sap" or "original".
        kernel_size: Of the convolution C → C. An even one looks a pixel further to
            the right and below. Default: 1 for "sap", 3 for "original".
        normalize: Divide by the window's mean weight.
        conv_cfg: Type of the convolution. Default: `nn.Conv2d`.

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
        normalize: bool = True,
        conv_cfg: dict | None = None,
    ):
        super().__init__(in_channels, stride, normalize)
        self.form = check_choice("form", form, ("sap", "original"))
        original = form == "original"
        if kernel_size is None:
            kernel_size = 3 if original else 1
        check_int("kernel_size", kernel_size)
        self.conv = build_conv(
            conv_cfg,
            in_channels,
            in_channels,
            kernel_size,
            padding=kernel_size // 2,
        )
        self.norm = (
            nn.InstanceNorm2d(in_channels, affine=True)
            if original
            else nn.BatchNorm2d(in_channels)
        )
        init_convs(self)

    def compute_weight(self, x: Tensor) -> Tensor:
        """The weights of `x` (B, C, H, W), of the same shape."""
        # padding="same" would do, but PyTorch warns of it with an even kernel, whose
        # padding on both sides gives a row and a column too many.
        logit = self.conv(x)[..., -x.shape[-2] :, -x.shape[-1] :]
        if self.form == "sap":
            return full_precision(self.norm(logit)).sigmoid().exp()
        # As a group norm of one channel a group, which takes a 1×1 map too.
        norm = self.norm
        logit = torch.group_norm(
            logit, self.in_channels, norm.weight, norm.bias, norm.eps
        )
        return (self.max_logit * full_precision(logit).sigmoid()).exp()

    def extra_repr(self) -> str:
        """The arguments that no submodule shows."""
        return f"{super().extra_repr()}, form={self.form!r}"
