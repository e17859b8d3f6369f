import oracles
import pytest
import torch

from attnpool_mm.pooling import LearnedPosition2d
from attnpool_mm.utils.errors import ConfigError


@pytest.mark.parametrize("channels", [1, 6, 7])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (256, 2)])
def test_concatenates_column_and_row(channels, size):
    table = LearnedPosition2d(channels)
    torch.testing.assert_close(table(*size), oracles.position(table, *size))


def test_starts_uniform():
    rows = LearnedPosition2d(64).row
    assert rows.min() >= 0 and rows.max() <= 1
    assert abs(rows.mean() - 0.5) < 0.02


def test_stretches_past_its_length():
    table = LearnedPosition2d(2, length=4)
    with torch.no_grad():
        table.column[:, 0] = torch.arange(4.0)
    row_of_columns = table(1, 8)[0, 0]
    # Linear between pixel centres: 4 values over 8 pixels, clamped at the ends.
    expected = ((torch.arange(8) + 0.5) / 2 - 0.5).clamp(0, 3)
    torch.testing.assert_close(row_of_columns, expected)


def test_every_row_of_a_stretched_table_gets_a_gradient():
    table = LearnedPosition2d(4, length=5)
    table(12, 12).sum().backward()
    assert (table.row.grad > 0).all() and (table.column.grad > 0).all()


def test_bad_arguments():
    with pytest.raises(ConfigError, match="channels=0"):
        LearnedPosition2d(0)
