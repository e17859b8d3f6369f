"""Layers whose float16 results saturate where they would be infinite.

A norm or an attention makes NaN of everything around an infinite value.
"""

import torch
from torch import Tensor, nn

LARGEST = torch.finfo(torch.float16).max


def saturate(x: Tensor) -> Tensor:
    """`x`, in float16 changed in place to be within ±65504.

    Unseen by autograd: nothing more is kept for the backward pass, and the gradient is
    that of the value that was too large. So `x` must not be what the layer that gave
    it keeps, as a ReLU does.

    Example:
        >>> saturate(torch.tensor([2.0, float('-inf')]).half())
        tensor([ 2.0000e+00, -6.5504e+04], dtype=torch.float16)
    """
    if x.dtype == torch.float16:
        x.detach().clamp_(-LARGEST, LARGEST)
    return x


class SaturatedSequential(nn.Sequential):
    """Convolutions, norms and ReLUs one after the other, saturating in float16.

    Example:
        >>> layers = SaturatedSequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        >>> layers.half()(torch.full((1, 4, 1, 1), 6e4).half()).isfinite().all()
        tensor(True)
    """

    def forward(self, x: Tensor) -> Tensor:
        """The result of the last layer."""
        for layer in self:
            x = layer(x)
            if not isinstance(layer, nn.ReLU):
                x = saturate(x)
        return x
