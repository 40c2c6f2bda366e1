"""Preference-based recommendation: the preference of P^(t-1) most similar to the target, and the history (eq. 1)."""

import pyarrow as pa

from .base import BenchmarkTables, rows_of_targets

NAME = "recommendation"


def build(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """Makes one row per target of each split whose preferences are known.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.
    """
    return rows_of_targets(NAME, tables, lambda rows: {"preference": tables.preferences.column(tables.matched[rows])})
