"""How torch-pruning cuts this package's layers. It needs torch-pruning."""

from collections.abc import Sequence

import torch
from torch import nn
from torch_pruning.pruner.function import BasePruningFunc, MultiheadAttentionPruner

from ..layers import SPEM, DynamicConv2d
from ..models.pruned import set_sizes
from ..pooling import LearnedPosition2d, SelfAttention
from ..pooling.deformable import ZeroConv2d


def cut(layer: nn.Module, name: str, removed: Sequence[int], dim: int) -> None:
    """Take slices out of a parameter of a layer.

    Args:
        layer (nn.Module): The layer.
        name (str): The parameter; one that is None stays so.
        removed (Sequence[int]): Indices of the slices.
        dim (int): Their dimension.

    Example:
        >>> layer = nn.Linear(2, 5)
        >>> cut(layer, 'weight', [0, 4], dim=0)
        >>> layer.weight.shape
        torch.Size([3, 2])
    """
    tensor = getattr(layer, name)
    if tensor is not None:
        kept = torch.ones(tensor.shape[dim], dtype=torch.bool)
        kept[list(removed)] = False
        (indices,) = kept.nonzero(as_tuple=True)
        setattr(layer, name, nn.Parameter(tensor.detach().index_select(dim, indices)))


class SelfAttentionPruner(MultiheadAttentionPruner):
    """Cuts the tokens, as many channels of each head.

    The products of query and key are divided by the root of a head's width: what is
    left of the queries is scaled, so that the products stay what they are.
    """

    def prune_out_channels(
        self, layer: SelfAttention, idxs: Sequence[int]
    ) -> SelfAttention:
        """Cut queries, keys, values, and what goes in and out."""
        before = layer.head_dim
        super().prune_out_channels(layer, list(idxs))
        scale = (layer.head_dim / before) ** 0.5
        with torch.no_grad():
            layer.in_proj_weight[: layer.embed_dim] *= scale
            layer.in_proj_bias[: layer.embed_dim] *= scale
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channel_groups(self, layer: SelfAttention) -> int:
        """The heads."""
        return layer.num_heads

    get_in_channel_groups = get_out_channel_groups


class LearnedPositionPruner(BasePruningFunc):
    """Cuts the tables of the positions, whose columns are the channels."""

    def prune_out_channels(
        self, layer: LearnedPosition2d, idxs: Sequence[int]
    ) -> LearnedPosition2d:
        """Cut the column table, which has the first channels, and the row table."""
        first = layer.column.shape[1]
        cut(layer, "column", [i for i in idxs if i < first], 1)
        cut(layer, "row", [i - first for i in idxs if i >= first], 1)
        return layer

    def prune_in_channels(
        self, layer: LearnedPosition2d, idxs: Sequence[int]
    ) -> LearnedPosition2d:
        """Nothing goes in."""
        return layer

    def get_out_channels(self, layer: LearnedPosition2d) -> int:
        """The width of a position."""
        return layer.column.shape[1] + layer.row.shape[1]

    def get_in_channels(self, layer: LearnedPosition2d) -> None:
        """Nothing goes in."""


class SPEMPruner(BasePruningFunc):
    """Cuts SPEM's weights and biases, one a channel; `p` is one for all."""

    def prune_out_channels(self, layer: SPEM, idxs: Sequence[int]) -> SPEM:
        """Cut the channels."""
        for name in ("w1", "b1", "w2", "b2"):
            cut(layer, name, idxs, 1)
        set_sizes(layer)
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: SPEM) -> int:
        """The channels."""
        return layer.w1.shape[1]

    get_in_channels = get_out_channels


class DynamicConvPruner(BasePruningFunc):
    """Cuts the channels of all kernels, and what the attention over them sees."""

    def prune_out_channels(
        self, layer: DynamicConv2d, idxs: Sequence[int]
    ) -> DynamicConv2d:
        """Cut the outputs."""
        cut(layer, "weight", idxs, 1)
        cut(layer, "bias", idxs, 1)
        set_sizes(layer)
        return layer

    def prune_in_channels(
        self, layer: DynamicConv2d, idxs: Sequence[int]
    ) -> DynamicConv2d:
        """Cut the inputs."""
        cut(layer, "weight", idxs, 2)
        cut(layer.attention.fc1, "weight", idxs, 1)
        set_sizes(layer.attention.fc1)
        set_sizes(layer)
        return layer

    def get_out_channels(self, layer: DynamicConv2d) -> int:
        """The outputs."""
        return layer.out_channels

    def get_in_channels(self, layer: DynamicConv2d) -> int:
        """The inputs."""
        return layer.in_channels


class ZeroConvPruner(BasePruningFunc):
    """Cuts the inputs alone: the outputs are offsets and masks of a patch's pixels."""

    def prune_out_channels(self, layer: ZeroConv2d, idxs: Sequence[int]) -> ZeroConv2d:
        """Nothing: the outputs are no channels."""
        return layer

    def prune_in_channels(self, layer: ZeroConv2d, idxs: Sequence[int]) -> ZeroConv2d:
        """Cut the inputs."""
        cut(layer, "weight", idxs, 1)
        set_sizes(layer)
        return layer

    def get_out_channels(self, layer: ZeroConv2d) -> None:
        """None that could be cut."""

    def get_in_channels(self, layer: ZeroConv2d) -> int:
        """The inputs."""
        return layer.in_channels


PRUNERS = {
    SelfAttention: SelfAttentionPruner(),
    LearnedPosition2d: LearnedPositionPruner(),
    SPEM: SPEMPruner(),
    DynamicConv2d: DynamicConvPruner(),
    ZeroConv2d: ZeroConvPruner(),
}
