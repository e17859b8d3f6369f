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
    Normalised, it holds for any x in any data type for which a window's sum is finite,
    since only the differences within a window count. Without normalisation exp(x)
    overflows from x = 88 on.

    Args:
        in_channels (int): Channels C of the input.
        stride (int): Distance between windows in pixels. Default: 2.
        normalize (bool): Divide by the window's mean weight, as the paper does.
            Default: True.
        window (int | None): Width and height of a window in pixels. Default: `stride`.
        padding (int): Pixels by which windows reach over each border of the map.
            Default: 0.

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

    def compute_weight(self, x: Tensor) -> Tensor:
        """The weights of `x` (B, C, H, W), of the same shape."""
        x = full_precision(x)
        if self.normalize and self.tiles:
            x = subtract_window_max(x, self.stride)
        return x.exp()

    def compute_log_weight(self, x: Tensor) -> Tensor | None:
        """Logarithms of the weights, `x` itself, if they are normalised, else None."""
        return full_precision(x) if self.normalize else None
