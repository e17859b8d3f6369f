"""Self-attention that does not build the N×N matrix."""

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.saturation import saturate


class SelfAttention(nn.MultiheadAttention):
    """`nn.MultiheadAttention` with query = key = value, for its output alone.

    Parameters, initialisation and state dict are the parent's. The parent returns
    (or, in its inference path, builds) the N×N attention matrix; this goes through
    `scaled_dot_product_attention`, whose memory is linear in the tokens.

    Args:
        channels: Width of a token, a multiple of `num_heads`.
        num_heads: Attention heads.

    Example:
        >>> import torch
        >>> SelfAttention(8, num_heads=2)(torch.rand(1, 50, 8)).shape
        torch.Size([1, 50, 8])
    """

    def __init__(self, channels: int, num_heads: int):
        super().__init__(channels, num_heads, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend over (B, N, channels)."""
        qkv = saturate(F.linear(tokens, self.in_proj_weight, self.in_proj_bias))
        qkv = qkv.unflatten(2, (3, self.num_heads, self.head_dim))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        # CUDA's kernels without an N×N matrix want aligned heads.
        attended = aligned_attention(query, key, value, 8 if tokens.is_cuda else 1)
        return saturate(self.out_proj(attended.transpose(1, 2).flatten(2)))


def aligned_attention(
    query: Tensor, key: Tensor, value: Tensor, multiple: int
) -> Tensor:
    """`scaled_dot_product_attention` with heads widened to a multiple by zeros.

    The zeros change neither a product of query and key nor, cut off, the output.

    Args:
        query: (B, heads, N, width), as are `key` and `value`.
        key: What the queries are compared with.
        value: What is averaged.
        multiple: The width is made a multiple of this.
    """
    width = query.shape[-1]
    missing = -width % multiple
    if missing:
        query, key, value = (F.pad(t, (0, missing)) for t in (query, key, value))
    attended = F.scaled_dot_product_attention(query, key, value, scale=width**-0.5)
    return attended[..., :width]


def attend(x: Tensor, position: nn.Module | None, attention: SelfAttention) -> Tensor:
    """Self-attention over the pixels of a map.

    Args:
        x: The map (B, channels, H, W).
        position: Gives the positions to be added, (channels, H, W), for (H, W).
        attention: Attends over the pixels.

    Returns:
        A map of the same shape.
    """
    grid = x.shape[-2:]
    if position is not None:
        x = x + position(*grid)
    tokens = attention(x.flatten(2).transpose(1, 2))
    return tokens.transpose(1, 2).unflatten(2, grid)
