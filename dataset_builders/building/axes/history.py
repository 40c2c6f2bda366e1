"""History consolidation: all five preferences of P^(t-1) and the history, without help from the target."""

import pyarrow as pa

from .base import BenchmarkTables, rows_of_targets

NAME = "history"


def build(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """Makes one row per target of each split whose preferences are known.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.
    """
    return rows_of_targets(NAME, tables, lambda rows: {"preferences": tables.preferences.five(rows - 1)})
