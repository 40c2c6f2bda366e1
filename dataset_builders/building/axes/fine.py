"""Fine-grained steering: a user with the same ground truth is steered towards a very similar item (eq. 2, 3)."""

import pyarrow as pa

from .base import BenchmarkTables
from .steered import steered_rows

NAME = "fine"


def build(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """One row per distinct target of each split.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.
    """
    return steered_rows(NAME, tables)
