"""Learned positions of a two-dimensional map."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..utils.checks import check_int
from ..utils.free_size import size_is_free


class LearnedPosition2d(nn.Module):
    """Position (i, j) = concat(column table[j], row table[i]).

    A map longer than a table gets the table stretched to its length, linearly,
    so that any size works.

    Args:
        channels (int): Width of a position; the column table has the first half.
        length (int): Rows of each table. Default: 256.

    Raises:
        ConfigError: An argument is not a positive integer.

    Source:
        "Self-Attentive Pooling", WACV 2023: 256 rows, initialised U(0, 1).

    Example:
        >>> LearnedPosition2d(8)(3, 400).shape
        torch.Size([8, 3, 400])
    """

    def __init__(self, channels: int, length: int = 256):
        super().__init__()
        check_int("channels", channels)
        check_int("length", length)
        self.column = nn.Parameter(torch.rand(length, channels // 2))
        self.row = nn.Parameter(torch.rand(length, channels - channels // 2))

    def forward(self, height: int, width: int) -> Tensor:
        """The positions (channels, height, width)."""
        column = _stretch(self.column, width).t()[:, None, :]
        row = _stretch(self.row, height).t()[:, :, None]
        return torch.cat(
            [column.expand(-1, height, -1), row.expand(-1, -1, width)], dim=0
        )

    def extra_repr(self) -> str:
        """The arguments that no submodule shows."""
        channels = self.column.shape[1] + self.row.shape[1]
        return f"{channels}, length={len(self.row)}"


def _stretch(table: Tensor, length: int) -> Tensor:
    stretched = length
    if size_is_free():  # as long as it is, the table stays what it is
        stretched = torch.as_tensor(length).clamp(min=len(table))
    elif length <= len(table):
        return table[:length]
    table = F.interpolate(table.t()[None], size=stretched, mode="linear")[0].t()
    return table[:length]
