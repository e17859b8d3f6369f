"""Local importance-based pooling (LIP)."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from ..layers.build import build_conv
from ..layers.saturation import SaturatedSequential, saturate
from ..registry import MODELS
from ..utils.checks import check_choice, check_int
from .weighted import WeightedPool2d, full_precision, init_convs


@MODELS.register_module()
class LocalImportancePool2d(WeightedPool2d):
    """Pooling whose weights come from a convolution.

    Two forms: "sap", the one that Self-Attentive Pooling compares with,
    w = exp(sigmoid(BN(Conv(x)))), and "original", that of LIP's own paper,
    w = exp(12 · sigmoid(InstanceNorm(Conv(x)))).

    The original's windows overlap: for stride 2 they are 3×3 with padding 1, and in
    general 2 · stride − 1 wide with padding stride − 1, from one pixel's neighbour to
    the next, so that a map becomes as large as by a strided convolution. Its last norm
    starts at zero, so that it starts as average pooling. Its weights reach e¹², more
    than float16 holds: they are float32 in mixed precision.

    Args:
        in_channels (int): Channels C of the input.
        stride (int): Distance between pooling windows in pixels. Default: 2.
        form (str): "sap" or "original". Default: 'sap'.
        kernel_size (int | None): Of the convolution that gives the logits, C → C. An
            even one looks a pixel further to the right and below. Default: 3 for
            "original" without `hidden_channels`, else 1.
        normalize (bool): Divide by the window's mean weight. Default: True.
        conv_cfg (dict | None): Type of that convolution. Default: `nn.Conv2d`.
        window (int | None): Width and height of a pooling window in pixels. Default:
            `stride` for "sap", 2 · stride − 1 for "original".
        padding (int | None): Pixels by which windows reach over each border. Default:
            0, but stride − 1 where the window is the default of "original".
        hidden_channels (int | None): Width of two layers before that convolution, a 1×1
            and a 3×3 one with norm and ReLU each (LIP's "bottleneck" logits). Default:
            no such layers.
        source_channels (int | None): Channels of the map that the weights are computed
            from, where it is another one: `pool(x, source)`. Default: C.

    Raises:
        ConfigError: An argument is not one of the accepted values.

    Source:
        "LIP: Local Importance-based Pooling", ICCV 2019, arXiv 1908.04156; the other
        form from "Self-Attentive Pooling", WACV 2023, arXiv 2209.07659.

    Example:
        >>> LocalImportancePool2d(16, stride=2)(torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 16, 4, 4])
        >>> pool = LocalImportancePool2d(16, form='original', hidden_channels=8)
        >>> x = torch.rand(2, 16, 9, 9)
        >>> mean = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
        >>> torch.allclose(pool(x), mean(x), atol=1e-6)
        True
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
        window: int | None = None,
        padding: int | None = None,
        hidden_channels: int | None = None,
        source_channels: int | None = None,
    ):
        check_int("stride", stride)
        original = check_choice("form", form, ("sap", "original")) == "original"
        overlap = original and window is None
        if overlap:
            window = 2 * stride - 1
        if padding is None:
            padding = stride - 1 if overlap else 0
        super().__init__(in_channels, stride, normalize, window, padding)
        self.form = form
        if kernel_size is None:
            kernel_size = 3 if original and hidden_channels is None else 1
        check_int("kernel_size", kernel_size)
        width = in_channels
        if source_channels is not None:
            width = check_int("source_channels", source_channels)
        norm = InstanceNorm2d if original else nn.BatchNorm2d
        self.hidden = None
        if hidden_channels is not None:
            self.hidden = hidden_layers(width, hidden_channels, norm)
            width = hidden_channels
        self.conv = build_conv(
            conv_cfg,
            width,
            in_channels,
            kernel_size,
            padding=kernel_size // 2,
            bias=not original,  # which an instance norm would take away again
        )
        self.norm = norm(in_channels)
        init_convs(self)
        if original:
            nn.init.zeros_(self.norm.weight)

    def compute_weight(self, x: Tensor) -> Tensor:
        """The weights that `x` (B, C, H, W), or another source, gives its pixels."""
        size = x.shape[-2:]
        if self.hidden is not None:
            x = self.hidden(x)
        # padding="same" would do, but PyTorch warns of it with an even kernel, whose
        # padding on both sides gives a row and a column too many.
        logit = saturate(self.conv(x))[..., -size[0] :, -size[1] :]
        logit = full_precision(self.norm(logit)).sigmoid()
        if self.form == "original":
            logit = self.max_logit * logit
        return logit.exp()

    def extra_repr(self) -> str:
        """The arguments that no submodule shows."""
        return f"{super().extra_repr()}, form={self.form!r}"


class InstanceNorm2d(nn.InstanceNorm2d):
    """Instance norm with scale and shift, as a group norm of one channel a group.

    That one takes a 1×1 map too.

    Args:
        num_features (int): Channels of the map.

    Example:
        >>> InstanceNorm2d(4)(torch.rand(2, 4, 1, 1)).abs().max() < 1e-3
        tensor(True)
    """

    def __init__(self, num_features: int):
        super().__init__(num_features, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W), each channel of each image by itself."""
        return torch.group_norm(x, self.num_features, self.weight, self.bias, self.eps)


def hidden_layers(
    in_channels: int, channels: int, norm: type[nn.Module] = InstanceNorm2d
) -> SaturatedSequential:
    """The layers before a pool's logits: 1×1 and 3×3 convolution, norm and ReLU each.

    Args:
        in_channels (int): Channels of the map.
        channels (int): Width of the layers.
        norm (type[nn.Module]): Class of the norms. Default: InstanceNorm2d.

    Raises:
        ConfigError: `channels` is not a positive integer.

    Example:
        >>> [name for name, _ in hidden_layers(16, 8).named_children()]
        ['conv1', 'norm1', 'relu1', 'conv2', 'norm2', 'relu2']
    """
    check_int("hidden_channels", channels)
    layers = SaturatedSequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, channels, 1, bias=False),
            norm1=norm(channels),
            relu1=nn.ReLU(inplace=True),
            conv2=nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            norm2=norm(channels),
            relu2=nn.ReLU(inplace=True),
        )
    )
    init_convs(layers)
    return layers
