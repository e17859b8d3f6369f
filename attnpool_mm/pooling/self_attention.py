"""Self-attention that does not build the N×N matrix."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.saturation import saturate

JOINED = 8  # tensors at once; TensorFlow Lite Micro joins at most ten


class SelfAttention(nn.MultiheadAttention):
    """`nn.MultiheadAttention` with query = key = value, for its output alone.

    Parameters, initialisation and state dict are the parent's. The parent returns
    (or, in its inference path, builds) the N×N attention matrix; this goes through
    `scaled_dot_product_attention`, whose memory is linear in the tokens.

    A runtime without such an operator builds the matrix. For it, `blocks` divides the
    queries: each head goes over them block by block, by plain products and a softmax,
    and holds the block's rows of the matrix alone. The output is the same.

    Args:
        channels (int): Width of a token, a multiple of `num_heads`.
        num_heads (int): Attention heads.

    Attributes:
        blocks: Blocks of queries a head; None is the fused operator. It may be set at
            any time; `attnpool_mm.deploy.tiling` does for a limit of memory.

    Example:
        >>> import torch
        >>> SelfAttention(8, num_heads=2)(torch.rand(1, 50, 8)).shape
        torch.Size([1, 50, 8])
    """

    blocks: int | None = None

    def __init__(self, channels: int, num_heads: int):
        super().__init__(channels, num_heads, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend over (B, N, channels)."""
        if self.blocks is not None:
            return saturate(self.out_proj(self._attend_in_blocks(tokens)))
        qkv = saturate(F.linear(tokens, self.in_proj_weight, self.in_proj_bias))
        qkv = qkv.unflatten(2, (3, self.num_heads, self.head_dim))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        # CUDA's kernels without an N×N matrix want aligned heads.
        attended = aligned_attention(query, key, value, 8 if tokens.is_cuda else 1)
        return saturate(self.out_proj(attended.transpose(1, 2).flatten(2)))

    def _attend_in_blocks(self, tokens: Tensor) -> Tensor:
        """All heads' outputs (B, N, channels), before they are projected."""
        # A convolution gives the values as (B, channels, N): as (B, N, channels),
        # TensorFlow Lite Micro keeps a transposed copy of them for each product.
        rows = slice(2 * self.embed_dim, None)
        values = F.conv1d(
            tokens.transpose(1, 2),
            self.in_proj_weight[rows, :, None],
            self.in_proj_bias[rows],
        )
        heads = []
        for head, value in enumerate(saturate(values).chunk(self.num_heads, 1)):
            query = self._project(tokens, head) * self.head_dim**-0.5
            key = self._project(tokens, self.num_heads + head)
            attended = [
                saturate(block @ key.transpose(1, 2)).softmax(-1)
                @ value.transpose(1, 2)
                for block in self._blocks_of(query)
            ]
            heads.append(_join(attended, 1))
        return _join(heads, 2)

    def _project(self, tokens: Tensor, index: int) -> Tensor:
        """The queries of a head; counted on from the heads, its keys."""
        rows = slice(index * self.head_dim, (index + 1) * self.head_dim)
        return saturate(
            F.linear(tokens, self.in_proj_weight[rows], self.in_proj_bias[rows])
        )

    def _blocks_of(self, query: Tensor) -> list[Tensor]:
        """The queries in blocks whose sizes differ by one at most, at any N."""
        tokens = query.shape[1]
        starts = [tokens * i // self.blocks for i in range(self.blocks)]
        return [query[:, i:j] for i, j in pairwise([*starts, tokens])]


def _join(parts: list[Tensor], dim: int) -> Tensor:
    """Concatenate few tensors at a time.

    The groups get a dimension of their own, so that no converter makes one
    concatenation of all again.
    """
    if len(parts) <= JOINED:
        return torch.cat(parts, dim)
    groups = [
        torch.cat(parts[i : i + JOINED], dim)[None]
        for i in range(0, len(parts), JOINED)
    ]
    return _join(groups, dim + 1)[0]


def aligned_attention(
    query: Tensor, key: Tensor, value: Tensor, multiple: int
) -> Tensor:
    """`scaled_dot_product_attention` with heads widened to a multiple by zeros.

    The zeros change neither a product of query and key nor, cut off, the output.

    Args:
        query (Tensor): (B, heads, N, width), as are `key` and `value`.
        key (Tensor): What the queries are compared with.
        value (Tensor): What is averaged.
        multiple (int): The width is made a multiple of this.
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
        x (Tensor): The map (B, channels, H, W).
        position (nn.Module | None): Gives the positions to be added, (channels, H, W),
            for (H, W).
        attention (SelfAttention): Attends over the pixels.

    Returns:
        A map of the same shape.
    """
    grid = x.shape[-2:]
    if position is not None:
        x = x + position(*grid)
    tokens = attention(x.flatten(2).transpose(1, 2))
    return tokens.transpose(1, 2).unflatten(2, grid)
