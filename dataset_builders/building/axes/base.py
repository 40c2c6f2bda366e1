"""Intermediate tables that the axes are made from, and the error of an axis whose input is missing."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import pyarrow as pa

from ...benchmark.schema import SPLITS, features_of
from ..preferences.matching import EmbeddingTable
from ..preferences.table import Preferences
from ..sequences import Sequences
from ..steering.assignment import SteeringRows


class UnsupportedAxis(Exception):
    """An axis that the input does not support; it is left out of the benchmark and named in the report.

    Args:
        axis (`str`): Name of the axis.
        reason (`str`): The missing input.
    """

    def __init__(self, axis: str, reason: str) -> None:
        super().__init__(f"The axis {axis} is left out: {reason}.")
        self.axis = axis
        self.reason = reason


class SplitRows(dict[str, pa.Table]):
    """Rows of an axis by split, with counts that its report states.

    Args:
        splits (`Mapping[str, pa.Table]`): Split -> rows.
        notes (`Mapping`): What is counted, as the end of a sentence that begins with its number, to counts by split.
    """

    def __init__(self, splits: Mapping[str, pa.Table], notes: Mapping[str, Mapping[str, int]]) -> None:
        super().__init__(splits)
        self.notes = {note: dict(counts) for note, counts in notes.items()}


class BenchmarkTables(Protocol):
    """Everything an axis may use; each table is computed on first use.

    Attributes:
        items (`pa.Table`): The catalog; row `item_id - 1` is the item `item_id`.
        item_texts (`list[str]`): Text that is embedded for each item; entry `item_id - 1`.
        item_embeddings (`np.ndarray`): float32 `(num_items, hidden_size)`; row `item_id - 1`.
        sequences (`Sequences`): All actions.
        preferences (`Preferences`): Preferences of all actions.
        matched (`np.ndarray`): int64 `(num_actions,)`, the index of the preference of eq. (1) of every target; -1 for
            actions that are not targets, and for targets whose preferences are missing.
        preference_embeddings (`np.ndarray`): float32 `(num_preferences, hidden_size)`.
        embed (`EmbeddingTable`): Embeddings of other texts (reviews).
        steering (`Mapping` or `str`): `(axis, split) -> SteeringRows`, or the reason why there are none.
    """

    @property
    def items(self) -> pa.Table: ...
    @property
    def item_texts(self) -> list[str]: ...
    @property
    def item_embeddings(self) -> np.ndarray: ...
    @property
    def sequences(self) -> Sequences: ...
    @property
    def preferences(self) -> Preferences: ...
    @property
    def matched(self) -> np.ndarray: ...
    @property
    def preference_embeddings(self) -> np.ndarray: ...
    @property
    def embed(self) -> EmbeddingTable: ...
    @property
    def steering(self) -> Mapping[tuple[str, str], SteeringRows] | str: ...


def known_targets(tables: BenchmarkTables, split: int) -> np.ndarray:
    """Rows that are targets of a split and have preferences at the position before, P^(t-1)."""
    rows = tables.sequences.target_rows(split)
    return rows[~tables.preferences.missing[rows - 1]]


def rows_of_targets(
    axis: str, tables: BenchmarkTables, preferences: Callable[[np.ndarray], Mapping[str, pa.Array]]
) -> dict[str, pa.Table]:
    """Makes one row per target of each split whose preferences are known, with the history before it.

    Args:
        axis (`str`): Name of the axis.
        tables ([`BenchmarkTables`]): The intermediate tables.
        preferences (`Callable`): Rows of actions, int `(num_rows,)`, to the columns that hold their preferences.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.

    Raises:
        UnsupportedAxis: If a split has no rows.
    """
    sequences, splits = tables.sequences, {}
    for split, name in enumerate(SPLITS):
        rows = known_targets(tables, split)
        columns = {
            "user_id": sequences.user_column(rows),
            "position": sequences.position[rows],
            "history": sequences.histories(rows),
            **preferences(rows),
            "target": sequences.item_id[rows],
        }
        splits[name] = as_table(axis, columns)
    return require_rows(axis, splits)


def as_table(name: str, columns: Mapping[str, pa.Array | np.ndarray]) -> pa.Table:
    """Makes a table of exactly the published schema of a config.

    Args:
        name (`str`): The config, see [`~dataset_builders.benchmark.schema.features`].
        columns (`Mapping`): One array per column.

    Returns:
        `pa.Table`: The table, with the metadata of its features that `datasets` reads.
    """
    schema = features_of(name, columns).arrow_schema
    assert set(columns) == set(schema.names), f"{name} must have the columns {schema.names}, got {list(columns)}"
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def require_rows(
    axis: str, splits: Mapping[str, pa.Table], notes: Mapping[str, Mapping[str, int]] | None = None
) -> SplitRows:
    """Returns the splits, with the notes of [`SplitRows`], if all of them have rows.

    Raises:
        UnsupportedAxis: If a split has none.
    """
    empty = [split for split, table in splits.items() if not table.num_rows]
    if empty:
        raise UnsupportedAxis(axis, f"no rows for the split(s) {', '.join(empty)}")
    return SplitRows(splits, notes or {})
