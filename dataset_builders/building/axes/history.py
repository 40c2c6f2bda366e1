"""History consolidation: all five preferences of P^(t-1) and the history, without help from the target."""

import pyarrow as pa

from ...benchmark.schema import SPLITS
from .base import BenchmarkTables, as_table, known_targets, require_rows

NAME = "history"


def build(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """Makes one row per target of each split whose preferences are known.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.
    """
    return require_rows(NAME, {name: _rows(tables, split) for split, name in enumerate(SPLITS)})


def _rows(tables: BenchmarkTables, split: int) -> pa.Table:
    sequences = tables.sequences
    rows = known_targets(tables, split)
    return as_table(
        NAME,
        {
            "user_id": sequences.user_column(rows),
            "position": sequences.position[rows],
            "history": sequences.histories(rows),
            "preferences": tables.preferences.five(rows - 1),
            "target": sequences.item_id[rows],
        },
    )
