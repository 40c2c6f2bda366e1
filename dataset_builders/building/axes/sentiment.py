"""Sentiment following: negative preferences paired with the item that elicited them, and their inversion (D.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ...benchmark.negation import NEGATIVE, invert
from ...benchmark.schema import SPLITS
from ..sequences import TEST, TRAIN, VALIDATION
from .base import BenchmarkTables, UnsupportedAxis, as_table, require_rows

NAME = "sentiment"
SHARES = {TEST: 3716, VALIDATION: 3671, TRAIN: 17811}
"""Proportions of the splits for preferences that occur in several splits: those of Beauty in table 4.

A user's aversion usually lasts from the train positions to the last one. Assigned to the first split that has it, it
would leave nothing to train on, or nothing to evaluate on.
"""


def build(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """Makes unique (preference, item) tuples; no negative preference occurs in two splits.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.

    Raises:
        UnsupportedAxis: If there are no ratings and reviews, no negative ones, or a split would be empty.
    """
    if not tables.sequences.has_opinions:
        raise UnsupportedAxis(NAME, "the interactions carry neither ratings nor review texts")
    # preference -> split -> item -> splits of the actions that elicited it
    items_of: dict[int, dict[int, dict[int, set[int]]]] = {}
    aversions = find_aversions(tables)
    for aversion, row in zip(aversions, find_triggers(tables, aversions), strict=True):
        for split in aversion.rows:
            items = items_of.setdefault(aversion.preference, {}).setdefault(split, {})
            items.setdefault(int(tables.sequences.item_id[row]), set()).add(int(tables.sequences.split[row]))
    if not items_of:
        raise UnsupportedAxis(NAME, "no negative preference meets a negatively reviewed item")
    owner = divide({preference: {s: len(i) for s, i in splits.items()} for preference, splits in items_of.items()})
    chosen: dict[int, list[tuple[int, int]]] = {split: [] for split in SHARES}
    for preference, split in owner.items():
        chosen[split] += [(preference, item) for item in items_of[preference][split]]
    earlier = {
        name: sum(split not in items_of[preference][split][item] for preference, item in chosen[split])
        for split, name in enumerate(SPLITS)
    }
    splits = {name: _rows(tables, sorted(chosen[split])) for split, name in enumerate(SPLITS)}
    return require_rows(
        NAME, splits, {"rows have an item that was disliked at a position of an earlier split": earlier}
    )


def divide(counts: Mapping[int, Mapping[int, int]]) -> dict[int, int]:
    """Assigns every preference to one of the splits it occurs in, so that the splits approach their shares.

    Preferences with a single choice are assigned first; each of the others goes to the split that is furthest behind.

    Args:
        counts (`Mapping`): Preference -> split -> number of rows it would add there.

    Returns:
        `dict[int, int]`: Preference -> split.

    >>> divide({7: {2: 1}, 8: {0: 1, 2: 1}, 9: {0: 2, 1: 1, 2: 1}})
    {7: 2, 8: 0, 9: 1}
    """
    owner: dict[int, int] = {}
    filled = dict.fromkeys(SHARES, 0)
    for preference in sorted(counts, key=lambda preference: (len(counts[preference]), preference)):
        choices = [split for split in SHARES if split in counts[preference]]
        owner[preference] = min(choices, key=lambda split: filled[split] / SHARES[split])
        filled[owner[preference]] += counts[preference][owner[preference]]
    return owner


def _rows(tables: BenchmarkTables, pairs: Sequence[tuple[int, int]]) -> pa.Table:
    negative = [tables.preferences.strings[preference] for preference, _ in pairs]
    return as_table(
        NAME,
        {
            "preference_positive": pa.array([invert(preference) for preference in negative], pa.string()),
            "preference_negative": pa.array(negative, pa.string()),
            "target": pa.array([item for _, item in pairs], pa.int32()),
        },
    )


@dataclass
class Aversion:
    """A negative preference of one user.

    Attributes:
        preference (`int`): Index of the preference.
        disliked (`list[int]`): Rows of the negative reviews in the window when the preference first occurs with one,
            newest first.
        rows (`dict[int, list[int]]`): Split -> rows of its positions that have the preference, from then on, oldest
            first.
    """

    preference: int
    disliked: list[int]
    rows: dict[int, list[int]] = field(default_factory=dict)


def find_aversions(tables: BenchmarkTables) -> list[Aversion]:
    """Finds each user's negative preferences that occur with a negative review.

    A later dislike cannot have elicited a preference that the user had before: the same sentence at a later position
    keeps the items of its first one.
    """
    sequences, preferences = tables.sequences, tables.preferences
    # -1 stands for a missing preference and must not be read as the last one.
    is_negative = np.r_[preferences.negative, False][preferences.ids]
    polarity, user, split = sequences.polarity.tolist(), sequences.user.tolist(), sequences.split.tolist()
    known: dict[tuple[int, int], Aversion] = {}
    for row in np.flatnonzero(sequences.in_window & is_negative.any(axis=1)).tolist():
        first = row - int(sequences.history_length[row])
        disliked = [past for past in range(row, first - 1, -1) if polarity[past] == NEGATIVE]
        if not disliked:
            continue
        for preference in preferences.ids[row][is_negative[row]].tolist():
            aversion = known.setdefault((user[row], preference), Aversion(preference, disliked))
            aversion.rows.setdefault(split[row], []).append(row)
    return list(known.values())


def find_triggers(tables: BenchmarkTables, aversions: Sequence[Aversion]) -> list[int]:
    """Finds for each aversion the action whose review elicited it: the only one, else the closest by cosine (D.1).

    A review is embedded together with its item's title, since the review alone seldom names the item and the
    preference does.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.
        aversions (`Sequence`): Aversions, each with at least one disliked row.

    Returns:
        `list[int]`: One row per aversion; the newest of equally close ones.
    """
    sequences, titles = tables.sequences, tables.items["title"].to_pylist()
    rows = sorted({row for aversion in aversions if len(aversion.disliked) > 1 for row in aversion.disliked})
    texts = [f"{titles[sequences.item_id[row] - 1] or ''}. {sequences.reviews[row] or ''}" for row in rows]
    vectors = tables.embed(texts, "reviews") if rows else np.zeros((0, 0), np.float32)
    place = {row: index for index, row in enumerate(rows)}
    triggers = []
    for aversion in aversions:
        best = 0
        if len(aversion.disliked) > 1:
            candidates = vectors[[place[row] for row in aversion.disliked]]  # (num_disliked, hidden_size)
            best = int((candidates @ tables.preference_embeddings[aversion.preference]).argmax())
        triggers.append(aversion.disliked[best])
    return triggers
