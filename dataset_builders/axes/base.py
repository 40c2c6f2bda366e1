"""What the axes are made from, and how an axis says that its input is missing.

Knows the intermediate tables. Leaves to `builder.py` how they are computed, and to the axes what they make of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..preferences.matching import EmbeddingTable
from ..schema import NUM_PREFERENCES, features
from ..sequences import Sequences
from ..steering import SteeringRows


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


@dataclass(frozen=True, eq=False)
class Preferences:
    """The preferences of all users and positions.

    Attributes:
        strings (`list[str]`): The distinct ones, the set P of eq. (3).
        ids (`np.ndarray`): int32 `(num_actions, 5)`, indices into `strings`; the row of an action at position t holds
            P^(t).
        negative (`np.ndarray`): bool `(len(strings),)`.
    """

    strings: list[str]
    ids: np.ndarray
    negative: np.ndarray

    def column(self, ids: np.ndarray) -> pa.Array:
        """Strings of preferences `(num_rows,)`."""
        return pa.array(self.strings, pa.string()).take(pa.array(ids))

    def five(self, rows: np.ndarray) -> pa.Array:
        """The sets of five of some actions, as lists of a fixed size."""
        return pa.FixedSizeListArray.from_arrays(self.column(self.ids[rows].ravel()), NUM_PREFERENCES)


@dataclass(frozen=True, eq=False)
class BenchmarkTables:
    """Everything an axis may use.

    Attributes:
        sequences (`Sequences`): All actions.
        preferences (`Preferences`): Of all actions.
        matched (`np.ndarray`): int64 `(num_actions,)`: for every target the index of the preference of eq. (1), -1 for
            actions that are no targets.
        preference_embeddings (`np.ndarray`): float32 `(num_preferences, hidden_size)`.
        embed (`EmbeddingTable`): For other texts (reviews).
        steering (`Mapping` or `str`): `(axis, split) -> SteeringRows`, or the reason why there are none.
    """

    sequences: Sequences
    preferences: Preferences
    matched: np.ndarray
    preference_embeddings: np.ndarray
    embed: EmbeddingTable
    steering: Mapping[tuple[str, str], SteeringRows] | str


def as_table(name: str, columns: Mapping[str, pa.Array | np.ndarray]) -> pa.Table:
    """Columns of a config as a table of exactly its published schema.

    Args:
        name (`str`): The config, see [`~dataset_builders.schema.features`].
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
