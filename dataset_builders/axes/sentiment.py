"""Sentiment following: negative preferences paired with the item that elicited them, and their inversion (D.1).

Knows which of a user's past items were reviewed negatively. Leaves the polarity itself to `sentiment.py`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from ..schema import SPLITS
from ..sentiment import NEGATIVE, invert
from ..sequences import TEST, TRAIN, VALIDATION
from .base import BenchmarkTables, UnsupportedAxis, as_table, require_rows

NAME = "sentiment"
SHARES = {TEST: 3716, VALIDATION: 3671, TRAIN: 17811}
"""How the rows are divided where a preference occurs in several splits: as Beauty's in table 4.

A user's aversion usually lasts from the train positions to the last one. Given to the first split that has it, it
would leave nothing to train on, or nothing to evaluate on.
"""

Pair = tuple[int, int]
"""(index of a negative preference, row of the negatively reviewed action)."""


def build(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """Unique (preference, item) tuples; no negative preference occurs in two splits.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.

    Raises:
        UnsupportedAxis: Without ratings and reviews, without negative ones, or if a split would stay empty.
    """
    if not tables.sequences.has_opinions:
        raise UnsupportedAxis(NAME, "the interactions carry neither ratings nor review texts")
    items_of: dict[int, dict[int, dict[int, None]]] = {}  # preference -> split -> items, in order of occurrence
    for split in SHARES:
        for preference, row in _pairs(tables, split):
            item = int(tables.sequences.item_id[row])
            items_of.setdefault(preference, {}).setdefault(split, {}).setdefault(item)
    if not items_of:
        raise UnsupportedAxis(NAME, "no negative preference meets a negatively reviewed item")
    owner = divide({preference: {s: len(i) for s, i in splits.items()} for preference, splits in items_of.items()})
    chosen: dict[int, list[tuple[int, int]]] = {split: [] for split in SHARES}
    for preference, split in owner.items():
        chosen[split] += [(preference, item) for item in items_of[preference][split]]
    return require_rows(NAME, {name: _rows(tables, sorted(chosen[split])) for split, name in enumerate(SPLITS)})


def divide(counts: Mapping[int, Mapping[int, int]]) -> dict[int, int]:
    """Gives every preference to one of the splits it occurs in, so that the splits come near their shares.

    Those with a single choice go first; each of the others goes to the split that is furthest behind.

    Args:
        counts (`Mapping`): preference -> split -> number of rows it would bring there.

    Returns:
        `dict[int, int]`: preference -> split.

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


def _pairs(tables: BenchmarkTables, split: int) -> list[Pair]:
    """Each negative preference of the positions of a split, with the action whose review fits it best."""
    sequences, preferences = tables.sequences, tables.preferences
    has_negative = preferences.negative[preferences.ids].any(axis=1)
    decided: list[Pair] = []
    undecided: list[tuple[int, list[int]]] = []
    for row in np.flatnonzero(sequences.in_window & (sequences.split == split) & has_negative).tolist():
        first = row - int(sequences.history_length[row])
        disliked = [past for past in range(first, row + 1) if sequences.polarity[past] == NEGATIVE]
        for preference in preferences.ids[row].tolist():
            if preferences.negative[preference] and disliked:
                if len(disliked) == 1:
                    decided.append((preference, disliked[0]))
                else:
                    undecided.append((preference, disliked))
    return sorted(decided + _closest_reviews(tables, undecided), key=lambda pair: (pair[1], pair[0]))


def _closest_reviews(tables: BenchmarkTables, undecided: list[tuple[int, list[int]]]) -> list[Pair]:
    """Decides by the cosine of preference and review; where no review has a text, the newest action is taken.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.
        undecided (`list`): (preference, rows of negatively reviewed actions) with at least two rows each.

    Returns:
        `list[Pair]`: One pair per entry.
    """
    reviews = tables.sequences.reviews
    rows = sorted({row for _, disliked in undecided for row in disliked if (reviews[row] or "").strip()})
    vectors = tables.embed([reviews[row] for row in rows], "reviews") if rows else None
    place = {row: index for index, row in enumerate(rows)}
    pairs = []
    for preference, disliked in undecided:
        written = [row for row in disliked if row in place]
        if vectors is None or not written:
            pairs.append((preference, disliked[-1]))
            continue
        cosines = vectors[[place[row] for row in written]] @ tables.preference_embeddings[preference]
        pairs.append((preference, written[int(cosines.argmax())]))
    return pairs
