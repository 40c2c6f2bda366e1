"""Coarse-grained steering: away from the user's ground truth, to a very distinct item (eq. 2, 3)."""

import pyarrow as pa

from .base import BenchmarkTables
from .steered import steered_rows

NAME = "coarse"


def build(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """Makes one row per distinct target of each split.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.
    """
    return steered_rows(NAME, tables)
