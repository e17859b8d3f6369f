"""SoftPool: exponentially weighted pooling."""

from torch import Tensor

from ..registry import MODELS
from .weighted import WeightedPool2d, full_precision, subtract_window_max


@MODELS.register_module()
class SoftPool2d(WeightedPool2d):
    r"""Pooling whose weights are the exponentials of the values themselves.

    .. math::
        w = exp(x), \quad y = avg(w x) / avg(w)

    It has no parameters: softmax-weighted values, between average and max pooling.
    Normalised, it holds for any finite x in any data type, since only the differences
    within a window count. Without normalisation exp(x) overflows from x = 88 on.

    Args:
        in_channels: Channels C of the input.
        stride: Width and height of a pooling window in pixels.
        normalize: Divide by the window's mean weight, as the paper does.

    Raises:
        ConfigError: An argument is not one of the accepted values.

    Source:
        "Refining activation downsampling with SoftPool", ICCV 2021, arXiv 2101.00440.

    Example:
        >>> import torch
        >>> x = torch.tensor([[[[0.0, 0.0], [0.0, 100.0]]]])
        >>> SoftPool2d(1, stride=2)(x).item()
        100.0
    """

    # Without the arguments that the base may have for windows that overlap, in which a
    # pixel has not one largest value beside it.
    def __init__(self, in_channels: int, stride: int = 2, normalize: bool = True):
        super().__init__(in_channels, stride, normalize)

    def compute_weight(self, x: Tensor) -> Tensor:
        """The weights of `x` (B, C, H, W), of the same shape."""
        x = full_precision(x)
        if self.normalize:
            x = subtract_window_max(x, self.stride)
        return x.exp()
