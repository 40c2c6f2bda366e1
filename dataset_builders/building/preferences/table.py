"""Preferences of all users and positions: collected, counted, stored, and matched to targets (eq. 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from ...benchmark.negation import is_negative_preference
from ...benchmark.schema import NUM_PREFERENCES
from ..sequences import Sequences
from .approximation import PastItem, PreferenceApproximator, check_five
from .matching import match_preferences


@dataclass(frozen=True, eq=False)
class Preferences:
    """The preferences of all users and positions.

    Attributes:
        strings (`list[str]`): The distinct preferences, the set P of eq. (3).
        ids (`np.ndarray`): int32 `(num_actions, 5)`, indices into `strings`; the row of an action at position t holds
            P^(t), or -1 five times where the approximator gave none.
    """

    strings: list[str]
    ids: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads what [`write`] wrote."""
        strings = pq.read_table(folder / "strings.parquet")["preference"].to_pylist()
        ids = pq.read_table(folder / "ids.parquet")["ids"].to_numpy().reshape(-1, NUM_PREFERENCES)
        return cls(strings, ids)

    def write(self, folder: Path) -> None:
        """Writes `strings.parquet` and `ids.parquet` into a folder."""
        pq.write_table(pa.table({"preference": self.strings}), folder / "strings.parquet")
        pq.write_table(pa.table({"ids": self.ids.ravel()}), folder / "ids.parquet")

    @cached_property
    def negative(self) -> np.ndarray:
        """bool `(len(strings),)`: whether the preference begins with Avoid, Exclude or No (appendix D.1)."""
        return np.fromiter(map(is_negative_preference, self.strings), bool, len(self.strings))

    @cached_property
    def missing(self) -> np.ndarray:
        """bool `(num_actions,)`: where the approximator gave no preferences."""
        return self.ids[:, 0] < 0

    def counts(self) -> dict[str, int]:
        """Counts of table 4, and the number of actions without preferences."""
        known = self.ids[~self.missing]
        return {
            "num_preferences": int(known.size),
            "num_missing": int(np.count_nonzero(self.missing)),
            "num_distinct_preferences": len(self.strings),
            "num_negative": int(np.count_nonzero(self.negative[known])),
        }

    def column(self, ids: np.ndarray) -> pa.Array:
        """Strings of preferences `(num_rows,)`; null for an index below 0."""
        return pa.array(self.strings, pa.string()).take(pa.array(ids, mask=ids < 0))

    def five(self, rows: np.ndarray) -> pa.Array:
        """The five preferences of some actions, as lists; null where they are missing."""
        missing = self.missing[rows]
        flat = self.column(self.ids[rows[~missing]].ravel())
        ends = NUM_PREFERENCES * np.cumsum(~missing)
        return pa.ListArray.from_arrays(np.append(0, ends).astype(np.int32), flat, mask=pa.array(missing))


def approximate_preferences(
    approximator: PreferenceApproximator, sequences: Sequences, items: Sequence[Mapping[str, Any]], progress: bool
) -> Preferences:
    """Runs an approximator over all users and numbers the distinct preferences.

    Args:
        approximator ([`PreferenceApproximator`]): Approximator of preferences.
        sequences ([`Sequences`]): All actions, with polarity.
        items (`Sequence[Mapping]`): Catalog rows; entry `item_id - 1` is the item `item_id`.
        progress (`bool`): Whether to show a progress bar.

    Returns:
        [`Preferences`]: Preferences of all actions; missing where the approximator returned `None`.

    Raises:
        ValueError: If the approximator returns too few or too many sets for a user, a set without five distinct
            preferences, or no preferences at all.
    """
    approximator.prepare(items)
    users = sequences.past_items(items)
    approximator.check_users({user: len(events) for user, events in zip(sequences.user_ids, users, strict=True)})
    number: dict[str, int] = {}
    ids: list[int] = []
    pairs = zip(sequences.user_ids, users, strict=True)
    for user_id, events in tqdm(pairs, total=len(users), desc="Approximating preferences", disable=not progress):
        sets = approximator.approximate_user(user_id, events)
        _check_sets(user_id, events, sets, approximator.name)
        for five in sets:
            ids.extend(_MISSING if five is None else [number.setdefault(text, len(number)) for text in five])
    if not number:
        raise ValueError(
            f"The approximator {approximator.name} has no preferences for any of the {len(users)} users; "
            "is its journal the one of this domain?"
        )
    return Preferences(list(number), np.array(ids, np.int32).reshape(-1, NUM_PREFERENCES))


_MISSING = [-1] * NUM_PREFERENCES


def _check_sets(user_id: str, events: Sequence[PastItem], sets: Sequence[Sequence[str] | None], name: str) -> None:
    if not isinstance(sets, list | tuple) or len(sets) != len(events):
        gave = f"{len(sets)} sets" if isinstance(sets, list | tuple) else f"a {type(sets).__name__}"
        raise ValueError(
            f"The approximator {name} gave {gave} for {len(events)} actions of user {user_id!r}; a list with one set "
            "each is needed."
        )
    for position, five in enumerate(sets, 1):
        if five is not None:
            try:
                check_five(five)
            except ValueError as error:
                raise ValueError(f"The approximator {name}, user {user_id!r}, position {position}: {error}") from error


def match_targets(
    sequences: Sequences, preferences: Preferences, item_embeddings: np.ndarray, preference_embeddings: np.ndarray
) -> np.ndarray:
    """Matches every target at position t with the most similar preference of P^(t-1) (eq. 1).

    Args:
        sequences ([`Sequences`]): All actions.
        preferences ([`Preferences`]): Their preferences.
        item_embeddings (`np.ndarray`): float32 `(num_items, hidden_size)`, rows L2-normalized; row `item_id - 1`.
        preference_embeddings (`np.ndarray`): float32 `(num_preferences, hidden_size)`, rows L2-normalized.

    Returns:
        `np.ndarray`: int64 `(num_actions,)`, indices into the distinct preferences; -1 for actions that are not
        targets, and for targets whose P^(t-1) is missing.
    """
    rows = np.flatnonzero(sequences.in_window & (sequences.history_length > 0))
    rows = rows[~preferences.missing[rows - 1]]
    candidates = preferences.ids[rows - 1]
    best = match_preferences(sequences.item_id[rows] - 1, candidates, item_embeddings, preference_embeddings)
    matched = np.full(len(sequences), -1, np.int64)
    matched[rows] = candidates[np.arange(len(rows)), best]
    return matched
