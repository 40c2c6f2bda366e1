"""Fine-grained steering: from a user with the same ground truth to a very similar item (eq. 2, 3)."""

import pyarrow as pa

from .base import BenchmarkTables
from .steered import steered_rows

NAME = "fine"


def build(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """Makes one row per distinct target of each split.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.
    """
    return steered_rows(NAME, tables)
