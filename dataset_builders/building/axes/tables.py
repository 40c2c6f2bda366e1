"""Rows of the configs `items` and `preferences`."""

import numpy as np
import pyarrow as pa

from .base import BenchmarkTables, as_table


def items_rows(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """The catalog, in the one split `train`."""
    items = tables.items
    return {"train": as_table("items", {name: items[name].combine_chunks() for name in items.column_names})}


def preference_rows(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """Five preferences of every user and position, null where they are missing, in the one split `train`."""
    sequences = tables.sequences
    rows = np.arange(len(sequences))
    columns = {
        "user_id": sequences.user_column(rows),
        "position": sequences.position,
        "item_id": sequences.item_id,
        "preferences": tables.preferences.five(rows),
    }
    return {"train": as_table("preferences", columns)}


TABLES_AS_ROWS = {
    "items": (items_rows, ("items",)),
    "preferences": (preference_rows, ("sequences", "preferences")),
}
"""Table -> the function that makes its rows, and the names of its inputs."""
