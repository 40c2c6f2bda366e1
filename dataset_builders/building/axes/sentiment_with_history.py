"""Sentiment following with a history: the aversion is asked of its user, whose history lacks the disliked item.

An aversion exists from the disliked action on, and a history is an unbroken window, so the history before any later
position holds the disliked item. A row therefore stands at a position whose preferences hold the aversion, and its
history is the user's window before that position without the disliked item.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from ...benchmark.axes import ITEM_FROM
from ...benchmark.negation import invert
from ...benchmark.schema import SPLITS
from .base import BenchmarkTables, UnsupportedAxis, as_table, require_rows
from .sentiment import SHARES, divide, find_aversions, find_triggers

NAME = "sentiment_with_history"


@dataclass(frozen=True, order=True)
class _Row:
    """A possible row; the order prefers items of the own split, then the first position.

    Attributes:
        is_earlier (`bool`): Whether the disliked action is of an earlier split.
        row (`int`): Row of the sequences that gives user and position.
        item (`int`): The disliked item.
        history (`tuple[int, ...]`): The window before the row without the item, oldest first.
    """

    is_earlier: bool
    row: int
    item: int
    history: tuple[int, ...]


def build(tables: BenchmarkTables) -> dict[str, pa.Table]:
    """Makes one row per negative preference; none occurs in two splits.

    A preference is assigned to a split as in `sentiment`, with one difference: a split in which its item comes from an
    earlier split is considered only if all its splits are of that kind, or if a split would be empty otherwise.

    Args:
        tables ([`BenchmarkTables`]): The intermediate tables.

    Returns:
        `dict[str, pa.Table]`: Split -> rows.

    Raises:
        UnsupportedAxis: If there are no ratings and reviews, no negative ones, or a split would be empty.
    """
    if not tables.sequences.has_opinions:
        raise UnsupportedAxis(NAME, "the interactions carry neither ratings nor review texts")
    possible = _possible_rows(tables)
    if not possible:
        raise UnsupportedAxis(NAME, "no negative preference meets a negatively reviewed item and another past item")
    strict = {}
    for preference, rows in possible.items():
        own = {split: row for split, row in rows.items() if not row.is_earlier}
        strict[preference] = own or rows
    owner: dict[int, int] = {}
    for choices in (strict, possible):
        owner = divide({preference: dict.fromkeys(rows, 1) for preference, rows in choices.items()})
        if set(owner.values()) == set(SHARES):
            break
    chosen: dict[int, list[tuple[int, _Row]]] = {split: [] for split in SHARES}
    for preference, split in sorted(owner.items()):
        chosen[split].append((preference, possible[preference][split]))
    earlier = {name: sum(row.is_earlier for _, row in chosen[split]) for split, name in enumerate(SPLITS)}
    return require_rows(
        NAME,
        {name: _rows(tables, chosen[split]) for split, name in enumerate(SPLITS)},
        {"rows have an item that was disliked at a position of an earlier split (item_from)": earlier},
    )


def _possible_rows(tables: BenchmarkTables) -> dict[int, dict[int, _Row]]:
    """Preference -> split -> its best row, of those that have a history."""
    sequences = tables.sequences
    found: dict[int, dict[int, _Row]] = {}
    aversions = find_aversions(tables)
    for aversion, trigger in zip(aversions, find_triggers(tables, aversions), strict=True):
        item = int(sequences.item_id[trigger])
        for split, rows in aversion.rows.items():
            for row in rows:
                history = tuple(past for past in sequences.history(row).tolist() if past != item)
                if history:
                    candidate = _Row(bool(sequences.split[trigger] != split), row, item, history)
                    best = found.setdefault(aversion.preference, {})
                    best[split] = min(best.get(split, candidate), candidate)
                    break
    return found


def _rows(tables: BenchmarkTables, chosen: Sequence[tuple[int, _Row]]) -> pa.Table:
    negative = [tables.preferences.strings[preference] for preference, _ in chosen]
    sequences = tables.sequences
    return as_table(
        NAME,
        {
            "user_id": pa.array([sequences.user_ids[sequences.user[row.row]] for _, row in chosen], pa.string()),
            "position": pa.array([int(sequences.position[row.row]) for _, row in chosen], pa.int32()),
            "history": pa.array([row.history for _, row in chosen], pa.list_(pa.int32())),
            "preference_positive": pa.array([invert(preference) for preference in negative], pa.string()),
            "preference_negative": pa.array(negative, pa.string()),
            "target": pa.array([row.item for _, row in chosen], pa.int32()),
            "item_from": pa.array([ITEM_FROM[row.is_earlier] for _, row in chosen], pa.string()),
        },
    )
