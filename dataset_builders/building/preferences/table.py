"""The preferences of all users and positions: how they are collected, counted, and matched to targets (eq. 1).

Knows what any approximator must give. Leaves the writing to it, and the embedding space to `matching.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
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
        strings (`list[str]`): The distinct ones, the set P of eq. (3).
        ids (`np.ndarray`): int32 `(num_actions, 5)`, indices into `strings`; the row of an action at position t holds
            P^(t), or -1 five times where the approximator gave none.
    """

    strings: list[str]
    ids: np.ndarray

    @cached_property
    def negative(self) -> np.ndarray:
        """bool `(len(strings),)`: whether each begins with Avoid, Exclude or No (appendix D.1)."""
        return np.fromiter(map(is_negative_preference, self.strings), bool, len(self.strings))

    @cached_property
    def missing(self) -> np.ndarray:
        """bool `(num_actions,)`: where the approximator gave no preferences."""
        return self.ids[:, 0] < 0

    def counts(self) -> dict[str, int]:
        """The columns of table 4, and how many actions have no preferences."""
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
        """The sets of five of some actions, as lists; null where they are missing."""
        missing = self.missing[rows]
        flat = self.column(self.ids[rows[~missing]].ravel())
        ends = NUM_PREFERENCES * np.cumsum(~missing)
        return pa.ListArray.from_arrays(np.append(0, ends).astype(np.int32), flat, mask=pa.array(missing))


def approximate_preferences(
    approximator: PreferenceApproximator, sequences: Sequences, items: Sequence[Mapping[str, Any]], progress: bool
) -> Preferences:
    """Runs an approximator over all users and gives every distinct preference a number.

    Args:
        approximator ([`PreferenceApproximator`]): The writer.
        sequences ([`Sequences`]): All actions.
        items (`Sequence[Mapping]`): Catalogue rows, entry `item_id - 1` is the item `item_id`.
        progress (`bool`): Whether to show a bar.

    Returns:
        [`Preferences`]: Of all actions; missing where the approximator says so.

    Raises:
        ValueError: If the approximator gives a user too few or too many sets, or a set that is not five distinct ones;
            or nothing for anybody.
    """
    approximator.prepare(items)
    users = sequences.past_items(items)
    number: dict[str, int] = {}
    ids: list[int] = []
    people = zip(sequences.user_ids, users, strict=True)
    for user_id, events in tqdm(people, total=len(users), desc="Approximating preferences", disable=not progress):
        sets = approximator.approximate_user(user_id, events)
        _check_sets(events, sets, approximator.name)
        for five in sets:
            ids.extend(_MISSING if five is None else [number.setdefault(text, len(number)) for text in five])
    if not number:
        raise ValueError(
            f"The approximator {approximator.name} has no preferences for any of the {len(users)} users; "
            "is its journal the one of this domain?"
        )
    return Preferences(list(number), np.array(ids, np.int32).reshape(-1, NUM_PREFERENCES))


_MISSING = [-1] * NUM_PREFERENCES


def _check_sets(events: Sequence[PastItem], sets: Sequence[Sequence[str] | None], name: str) -> None:
    if len(sets) != len(events):
        raise ValueError(
            f"The approximator {name} gave {len(sets)} sets for {len(events)} actions of a user; one each is needed."
        )
    for five in sets:
        if five is not None:
            check_five(five)


def match_targets(
    sequences: Sequences, preferences: Preferences, item_embeddings: np.ndarray, preference_embeddings: np.ndarray
) -> np.ndarray:
    """For every target at position t, the preference of P^(t-1) that fits it best (eq. 1).

    Returns:
        `np.ndarray`: int64 `(num_actions,)`, indices into the distinct preferences; -1 for actions that are no target,
        and for targets whose P^(t-1) is missing.
    """
    rows = np.flatnonzero(sequences.in_window & (sequences.history_length > 0))
    rows = rows[~preferences.missing[rows - 1]]
    candidates = preferences.ids[rows - 1]
    best = match_preferences(sequences.item_id[rows] - 1, candidates, item_embeddings, preference_embeddings)
    matched = np.full(len(sequences), -1, np.int64)
    matched[rows] = candidates[np.arange(len(rows)), best]
    return matched
