"""Strength: the rows of coarse-grained steering, whose target must rise as the strength of the preference does."""

import pyarrow as pa

from ...benchmark.tables import choose_rows
from .base import BenchmarkTables, require_rows
from .steered import steered_rows

NAME = "strength"
MAX_ROWS = 2000
"""Rows of a split, of which each is asked four times."""


def build(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """Takes the rows of coarse-grained steering, at most 2,000 of a split, drawn with a fixed seed.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.

    Raises:
        UnsupportedAxis: If the catalog has no items to steer to, or a split has no rows.
    """
    splits = steered_rows(NAME, tables, "coarse")
    return require_rows(
        NAME, {split: rows.take(choose_rows(rows.num_rows, MAX_ROWS)) for split, rows in splits.items()}
    )
