"""What the axes are made from, and how an axis says that its input is missing.

Knows the intermediate tables. Leaves to `builder.py` how they are computed, and to the axes what they make of them.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import pyarrow as pa

from ...benchmark.schema import features
from ..preferences.matching import EmbeddingTable
from ..preferences.table import Preferences
from ..sequences import Sequences
from ..steering.assignment import SteeringRows


class UnsupportedAxis(Exception):
    """An axis that this input cannot give; it is left out and named, never faked.

    Args:
        axis (`str`): Its name.
        reason (`str`): What is missing.
    """

    def __init__(self, axis: str, reason: str) -> None:
        super().__init__(f"The axis {axis} is left out: {reason}.")
        self.axis = axis
        self.reason = reason


class BenchmarkTables(Protocol):
    """Everything an axis may use; the builder computes each the first time that an axis asks for it.

    Attributes:
        items (`pa.Table`): The catalogue; row `item_id - 1` is the item `item_id`.
        sequences (`Sequences`): All actions.
        preferences (`Preferences`): Of all actions.
        matched (`np.ndarray`): int64 `(num_actions,)`: for every target the index of the preference of eq. (1), -1 for
            actions that are no targets, and for targets whose preferences are missing.
        preference_embeddings (`np.ndarray`): float32 `(num_preferences, hidden_size)`.
        embed (`EmbeddingTable`): For other texts (reviews).
        steering (`Mapping` or `str`): `(axis, split) -> SteeringRows`, or the reason why there are none.
    """

    @property
    def items(self) -> pa.Table: ...
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


def as_table(name: str, columns: Mapping[str, pa.Array | np.ndarray]) -> pa.Table:
    """Columns of a config as a table of exactly its published schema.

    Args:
        name (`str`): The config, see [`~dataset_builders.benchmark.schema.features`].
        columns (`Mapping`): One array per column.

    Returns:
        `pa.Table`: With the metadata by which `datasets` knows the features.
    """
    schema = features(name).arrow_schema
    assert set(columns) == set(schema.names), f"{name} must have the columns {schema.names}, got {list(columns)}"
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def require_rows(axis: str, splits: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The splits, all of which must have rows.

    Raises:
        UnsupportedAxis: Naming those that have none.
    """
    empty = [split for split, table in splits.items() if not table.num_rows]
    if empty:
        raise UnsupportedAxis(axis, f"no rows for the split(s) {', '.join(empty)}")
    return dict(splits)
